"""The shared client against third parties that behave, misbehave and lie."""

from __future__ import annotations

import gzip
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from msgspec import Struct
from prometheus_client import CollectorRegistry
from twisted.internet import reactor, ssl
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS

from happy.metrics import Metrics
from happy.outbound.call_places import SLOW_SECONDS
from happy.outbound.http import HEADER_ALLOWANCE, CallFailed, Outgoing, Rejected
from tests.outbound.standin import Asked, StandIn, answer


class Pair(Struct):
    a: int
    b: str


class Timed:
    """The real reactor's sockets with a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = Clock()

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

    def callLater(self, delay: float, call: Any, *args: Any, **kwargs: Any) -> Any:
        return self.clock.callLater(delay, call, *args, **kwargs)

    def seconds(self) -> float:
        return self.clock.seconds()


class OutgoingCase(TestCase):
    """Calls to stand-ins, and how they were counted."""

    def setUp(self) -> None:
        self.metrics = Metrics(CollectorRegistry())

    def listen(self, script: Any, tls: Any = None) -> StandIn:
        standin = StandIn(script, tls)
        self.addCleanup(lambda: Deferred.fromCoroutine(standin.close()))
        return standin

    def outgoing(self, reactor_: Any = reactor, **options: Any) -> Outgoing:
        return Outgoing("third", reactor_, self.metrics, **options)

    def count(self, outcome: str) -> float:
        """How often calls ended that way."""
        labels = {"service": "third", "outcome": outcome}
        return self.metrics.registry.get_sample_value("happy_outgoing_calls_total", labels) or 0.0


class OutgoingTests(OutgoingCase):
    """Every call ends, says why, and leaves nothing open."""

    async def fails(self, expected: str, script: Any, **options: Any) -> None:
        """Both ways of calling fail with the outcome, count it once each, and close their socket."""
        standin = self.listen(script)
        outgoing = self.outgoing(**options)
        for call in (outgoing.fetch("GET", standin.url), outgoing.ask("GET", standin.url, Pair)):
            with self.assertRaises(CallFailed) as raised:
                await call
            self.assertEqual(raised.exception.outcome, expected)
        self.assertEqual(self.count(expected), 2)
        self.assertEqual(self.count("ok"), 0)
        await standin.deserted()

    async def test_json_answer(self) -> None:
        """A 2xx answer of the expected shape is decoded, and its connection closed."""
        standin = self.listen(lambda asked, _: answer({"a": 1, "b": "x", "more": []}, 201))
        self.assertEqual(await self.outgoing().ask("GET", standin.url, Pair), Pair(1, "x"))
        self.assertEqual(self.count("ok"), 1)
        await standin.deserted()

    async def test_request_as_composed(self) -> None:
        """Query members are percent-encoded, JSON and headers arrive as given, no compression is offered."""
        standin = self.listen(lambda asked, _: answer(b"\x00raw"))
        hostile = "a&admin=1#?/ %\u00e9\r\n"
        body = await self.outgoing().fetch(
            "POST", standin.url + "/x", params={"q": hostile}, json={"k": [1]}, headers={"X-Key": "secret"}
        )
        self.assertEqual(body, b"\x00raw")
        (asked,) = standin.asked
        self.assertEqual(asked.target, "/x?q=a%26admin%3D1%23%3F%2F+%25%C3%A9%0D%0A")
        self.assertEqual((asked.method, asked.body), ("POST", b'{"k":[1]}'))
        self.assertEqual(asked.headers["content-type"], "application/json")
        self.assertEqual(asked.headers["x-key"], "secret")
        self.assertTrue(asked.headers["user-agent"].startswith("happy-server/"))
        self.assertEqual(asked.headers["accept-encoding"], "identity")

    async def test_own_decoder(self) -> None:
        """A decoder of the caller's own may refuse an answer with ValueError."""
        standin = self.listen(lambda asked, _: answer(b"12x"))
        self.assertEqual(await self.outgoing().read("GET", standin.url, len), 3)
        with self.assertRaises(CallFailed) as raised:
            await self.outgoing().read("GET", standin.url, int)
        self.assertEqual(raised.exception.outcome, "malformed")
        self.assertEqual((self.count("ok"), self.count("malformed")), (1, 1))

    async def test_other_status(self) -> None:
        """An answer other than 2xx tells its status."""
        standin = self.listen(lambda asked, _: answer(b"sorry", 503))
        with self.assertRaises(Rejected) as raised:
            await self.outgoing().fetch("GET", standin.url)
        self.assertEqual(raised.exception.status, 503)
        self.assertEqual(self.count("rejected"), 1)

    async def test_redirect_is_not_followed(self) -> None:
        """A redirect is an answer like any other, so that nobody can send us elsewhere."""
        standin = self.listen(lambda asked, _: answer(b"", 302, {"Location": "/elsewhere"}))
        with self.assertRaises(Rejected):
            await self.outgoing().fetch("GET", standin.url)
        self.assertEqual(len(standin.asked), 1)

    async def test_cookies_are_dropped(self) -> None:
        """A cookie set by one answer is not sent with the next request."""
        standin = self.listen(lambda asked, _: answer(b"", headers={"Set-Cookie": "a=1; Path=/"}))
        outgoing = self.outgoing()
        await outgoing.fetch("GET", standin.url)
        await outgoing.fetch("GET", standin.url)
        self.assertNotIn("cookie", standin.asked[1].headers)

    async def test_broken_json(self) -> None:
        """Text that is no JSON, JSON of another shape, nesting without end, and bad UTF-8 are malformed."""
        replies = [b"<html>", b'{"a": "x", "b": 1}', b"[" * 200_000, b'{"a": 1, "b": "\xff"}', b""]
        standin = self.listen(lambda asked, _: answer(replies[len(standin.asked) - 1]))
        for _ in replies:
            with self.assertRaises(CallFailed) as raised:
                await self.outgoing().ask("GET", standin.url, Pair)
            self.assertEqual(raised.exception.outcome, "malformed")
        self.assertEqual(self.count("malformed"), len(replies))

    async def test_not_http(self) -> None:
        """Something that is no HTTP answer is malformed."""
        await self.fails("malformed", lambda asked, transport: b"220 smtp.example ready\r\n\r\n")

    async def test_shorter_than_promised(self) -> None:
        """A connection that ends before the promised length is malformed."""

        def script(asked: Asked, transport: Any) -> None:
            transport.write(answer(b"{}", headers={"Content-Length": "500"}))
            transport.loseConnection()

        await self.fails("malformed", script)

    async def test_longer_than_promised(self) -> None:
        """What follows after the promised length is ignored."""
        standin = self.listen(lambda asked, _: answer(b"true" + b"x" * 5000, headers={"Content-Length": "4"}))
        self.assertEqual(await self.outgoing().fetch("GET", standin.url), b"true")
        await standin.deserted()

    async def test_closed_without_answer(self) -> None:
        """A connection closed before any answer counts as unreachable."""
        await self.fails("unreachable", lambda asked, transport: transport.loseConnection())

    async def test_nobody_listens(self) -> None:
        """A refused connection is unreachable."""
        standin = StandIn(lambda asked, _: None)
        await standin.close()
        with self.assertRaises(CallFailed) as raised:
            await self.outgoing().fetch("GET", standin.url)
        self.assertEqual(raised.exception.outcome, "unreachable")

    async def test_huge_body(self) -> None:
        """An answer over the limit is cut off, announced or not."""
        limit = 10_000
        await self.fails("oversized", lambda asked, _: answer(b" " * (limit + 1)), limit=limit)

    async def test_endless_body(self) -> None:
        """A body without end is cut off long before it has all arrived."""

        def script(asked: Asked, transport: Any) -> None:
            transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (4 * HEADER_ALLOWANCE))

        await self.fails("oversized", script, limit=1000)

    async def test_endless_headers(self) -> None:
        """Headers without end are cut off."""

        def script(asked: Asked, transport: Any) -> None:
            transport.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: aaaaaaaaaaaaaaaaaaaa\r\n" * 6000)

        await self.fails("oversized", script, limit=1000)

    async def test_compressed_answer(self) -> None:
        """A compressed answer is refused unread: its size says nothing about its content's."""
        bomb = gzip.compress(b" " * 1_000_000)
        await self.fails("malformed", lambda asked, _: answer(bomb, headers={"Content-Encoding": "gzip"}))
        deflated = answer(zlib.compress(b"{}"), headers={"Content-Encoding": "deflate"})
        standin = self.listen(lambda asked, _: deflated)
        with self.assertRaises(CallFailed):
            await self.outgoing().fetch("GET", standin.url)

    async def stalls(self, first: bytes) -> None:
        """A third party that sends ``first`` and then nothing is given up after the timeout."""
        timed, asked = Timed(), Deferred[None]()

        def script(_: Asked, transport: Any) -> None:
            transport.write(first)
            asked.callback(None)

        standin = self.listen(script)
        call = Deferred.fromCoroutine(self.outgoing(timed, timeout=7).fetch("GET", standin.url))
        await asked
        timed.clock.advance(6.9)
        self.assertNoResult(call)
        timed.clock.advance(0.2)
        self.assertEqual(self.failureResultOf(call, CallFailed).value.outcome, "timeout")
        self.assertEqual(self.count("timeout"), 1)
        await standin.deserted()

    async def test_silence(self) -> None:
        """No answer within the time is a timeout, and the connection is closed."""
        await self.stalls(b"")

    async def test_stalled_body(self) -> None:
        """The time covers the whole answer, not only its head."""
        await self.stalls(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    async def test_places_are_bounded(self) -> None:
        """Calls beyond the concurrency wait, calls beyond the queue fail at once, waiting counts as time."""
        timed, asked = Timed(), Deferred[None]()
        standin = self.listen(lambda request, _: asked.callback(None))
        outgoing = self.outgoing(timed, timeout=5, concurrency=1, slow=0, waiting=1)
        first, second, third = (Deferred.fromCoroutine(outgoing.fetch("GET", standin.url)) for _ in range(3))
        self.assertEqual(self.failureResultOf(third, CallFailed).value.outcome, "busy")
        await asked
        timed.clock.advance(6)
        for call in (first, second):
            self.assertEqual(self.failureResultOf(call, CallFailed).value.outcome, "timeout")
        self.assertEqual(len(standin.asked), 1)
        await standin.deserted()

    async def test_silence_keeps_nobody_waiting(self) -> None:
        """While some calls have no answer, others begin in their place; how many more is bounded too."""
        timed, asked = Timed(), DeferredQueue[None]()

        def script(request: Asked, _: object) -> bytes | None:
            asked.put(None)
            return answer(b"true") if "fast" in request.target else None

        standin = self.listen(script)
        outgoing = self.outgoing(timed, concurrency=2, slow=2)
        calls = [Deferred.fromCoroutine(outgoing.fetch("GET", f"{standin.url}/silent")) for _ in range(2)]
        await gatherResults([asked.get(), asked.get()])
        fast = Deferred.fromCoroutine(outgoing.fetch("GET", f"{standin.url}/fast"))
        self.assertNoResult(fast)
        timed.clock.advance(SLOW_SECONDS)
        self.assertEqual(await fast, b"true")
        calls += [Deferred.fromCoroutine(outgoing.fetch("GET", f"{standin.url}/silent")) for _ in range(2)]
        await gatherResults([asked.get() for _ in range(3)])
        timed.clock.advance(SLOW_SECONDS)
        last = Deferred.fromCoroutine(outgoing.fetch("GET", f"{standin.url}/fast"))
        self.assertNoResult(last)
        calls[0].cancel()
        self.assertEqual(await last, b"true")
        for call in calls:
            call.cancel()
            self.failureResultOf(call, CancelledError)
        self.assertEqual(self.count("cancelled"), 4)
        await standin.deserted()

    async def test_place_is_given_back(self) -> None:
        """A failed call makes room for the next one."""
        replies = [answer(b"", 500), answer(b"true")]
        standin = self.listen(lambda asked, _: replies[len(standin.asked) - 1])
        outgoing = self.outgoing(concurrency=1)
        calls = [Deferred.fromCoroutine(outgoing.ask("GET", standin.url, bool)) for _ in range(2)]
        results = await gatherResults([call.addErrback(lambda failure: failure.type) for call in calls])
        self.assertEqual(results, [Rejected, True])

    async def test_cancelled_by_its_caller(self) -> None:
        """A call that its caller gives up closes its connection and is counted."""
        asked = Deferred[None]()
        standin = self.listen(lambda request, _: asked.callback(None))
        call = Deferred.fromCoroutine(self.outgoing().fetch("GET", standin.url))
        await asked
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual(self.count("cancelled"), 1)
        await standin.deserted()


def certificate(name: str) -> Any:
    """A self-signed certificate for a host, with its key, as Twisted takes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(Encoding.PEM)
    return ssl.PrivateCertificate.loadPEM(
        pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


class TlsTests(OutgoingCase):
    """Calls over TLS."""

    async def call(self, name: str, script: Any, *, trusted: bool = True, **options: Any) -> bytes:
        """The answer of a stand-in whose certificate is for ``name``."""
        own = certificate(name)
        self.standin = self.listen(script, tls=own.options())
        trust = BrowserLikePolicyForHTTPS(ssl.trustRootFromCertificates([own] if trusted else []))
        return await self.outgoing(tls=trust, **options).fetch("GET", self.standin.url)

    async def refused(self, name: str, **options: Any) -> None:
        with self.assertRaises(CallFailed) as raised:
            await self.call(name, lambda asked, _: answer(b"secret"), **options)
        self.assertEqual(raised.exception.outcome, "unreachable")
        self.assertEqual(self.standin.asked, [])

    async def test_trusted(self) -> None:
        """An answer of a host whose certificate is trusted arrives."""
        self.assertEqual(await self.call("localhost", lambda asked, _: answer(b"secret")), b"secret")
        await self.standin.deserted()

    async def test_untrusted(self) -> None:
        """A certificate of nobody we trust is unreachable, and hears no request."""
        await self.refused("localhost", trusted=False)

    async def test_other_name(self) -> None:
        """A trusted certificate for another host likewise."""
        await self.refused("example.org")

    async def test_platform_trust(self) -> None:
        """Without other orders the platform's authorities decide."""
        standin = self.listen(lambda asked, _: answer(b""), tls=certificate("localhost").options())
        with self.assertRaises(CallFailed):
            await self.outgoing().fetch("GET", standin.url)
        self.assertEqual(standin.asked, [])

    async def test_endless_body(self) -> None:
        """The limit counts what was encrypted, and the connection is cut without ceremony."""
        body = b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (4 * HEADER_ALLOWANCE)
        with self.assertRaises(CallFailed) as raised:
            await self.call("localhost", lambda asked, _: body, limit=1000)
        self.assertEqual(raised.exception.outcome, "oversized")
        await self.standin.deserted()

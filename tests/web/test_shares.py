"""Dividing the processor's time: floods wait for themselves."""

from __future__ import annotations

from collections.abc import Callable, Generator
from ipaddress import ip_network

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from happy.api.declare import Capability
from happy.settings.config import Config
from happy.web.shares import MOST_NEW, SLICE, Processor, Share
from tests.toys import toy_server
from tests.web.talking import Connection, Served, message

toys = Capability("toys")


class Time(Clock):
    """A clock that work moves: :meth:`spend` is called by what takes time."""

    def spend(self, seconds: float) -> None:
        self.rightNow += seconds

    def turn(self) -> None:
        """One turn of the reactor: what it is asked to call meanwhile is for the next one."""
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            func, args = call.func, call.args
            call.cancel()
            func(*args)


@toys.get("/heavy", public=True)
async def heavy(server: object) -> str:
    """Take 20 ms."""
    server.clock.spend(0.02)  # type: ignore[attr-defined]
    return "done"


@toys.get("/light", public=True)
async def light(server: object) -> str:
    """Take 1 ms."""
    server.clock.spend(0.001)  # type: ignore[attr-defined]
    return "done"


class ShareCase(SynchronousTestCase):
    """Owners who work."""

    def setUp(self) -> None:
        self.clock = Time()
        self.processor = Processor(self.clock)
        self.done: list[str] = []

    def work(self, share: Share, seconds: float = SLICE / 2) -> Callable[[], None]:
        """A piece of work that is noted."""

        def piece() -> None:
            began = share.now()
            self.clock.spend(seconds)
            self.done.append(share.owner)
            share.charge(began)

        return piece


class ShareTests(ShareCase):
    """Who may work when."""

    def test_burst(self) -> None:
        """Who comes now and then never waits; who works all the time does, until as much time has passed."""
        share = self.processor.open("a")
        for _ in range(100):
            self.assertIsNotNone(share.begin())
            self.work(share, 0.009)()
            self.clock.spend(0.02)
        for _ in range(5):
            self.work(share, 0.009)()
        self.assertIsNone(share.begin())
        self.assertIsNotNone(self.processor.open("b").begin())
        self.clock.spend(0.1)
        self.assertIsNotNone(share.begin())

    def test_all(self) -> None:
        """Many who work a little each wait too when there are too many."""
        for number in range(100):
            share = self.processor.open(f"{number}")
            if share.begin() is None:
                break
            self.work(share)()
        self.assertLess(number, 60)

    def test_turns(self) -> None:
        """Owners come in turn, one piece each, and each turn of the reactor takes only so long."""
        one, two = self.processor.open("a"), self.processor.open("b")
        for _ in range(6):
            one.later(self.work(one))
        two.later(self.work(two))
        self.assertEqual(self.done, [])
        self.clock.turn()
        self.assertEqual(self.done, ["a", "b"])
        self.clock.turn()
        self.assertEqual(self.done, ["a", "b", "a", "a"])

    def test_no_overtaking(self) -> None:
        """Who has something waiting is not free, whatever the time."""
        share = self.processor.open("a")
        share.later(self.work(share))
        self.clock.spend(10)
        self.assertIsNone(share.begin())
        self.clock.turn()
        self.assertIsNotNone(share.begin())

    def test_failing(self) -> None:
        """A piece that fails is logged, without what it says, and the next one has its turn."""
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        share = self.processor.open("a")

        def fail() -> None:
            raise RuntimeError("secret words")

        share.later(fail)
        share.later(self.work(share))
        self.clock.turn()
        self.assertEqual(self.done, ["a"])
        self.assertEqual(len(logged), 1)
        self.assertNotIn("secret", str(logged))

    def test_forgotten(self) -> None:
        """An owner without users leaves nothing behind."""
        first, again = self.processor.open("a"), self.processor.open("a")
        self.assertIs(first, again)
        first.close()
        again.close()
        self.assertEqual(self.processor._shares, {})

    def test_steps(self) -> None:
        """Long work is done in steps, others having turns in between; it answers and raises as usual."""

        def steps(result: object) -> Generator[None, None, object]:
            for _ in range(20):
                self.clock.spend(0.005)
                self.done.append("long")
                yield
            if isinstance(result, Exception):
                raise result
            return result

        long = Deferred.fromCoroutine(self.processor.open("a").in_turns(steps("result")))
        other = self.processor.open("b")
        other.later(self.work(other))
        while not long.called:
            self.clock.turn()
        self.assertEqual(self.successResultOf(long), "result")
        self.assertLess(self.done.index("b"), 12)
        failing = Deferred.fromCoroutine(self.processor.open("a").in_turns(steps(ValueError())))
        while not failing.called:
            self.clock.turn()
        self.failureResultOf(failing, ValueError)

    def test_debts_outlive_connections(self) -> None:
        """Whoever closes a connection and opens another owes what it owed; in time it is forgotten."""
        share = self.processor.open("a")
        self.work(share, 0.2)()
        share.close()
        again = self.processor.open("a")
        self.assertIsNone(again.begin())
        again.close()
        self.clock.advance(0.9)
        self.assertIs(self.processor.open("a"), share)
        share.close()
        latest = self.processor.open("a")
        self.clock.advance(5)
        self.assertIs(self.processor.open("a"), latest)

    def test_nothing_outlives_the_end(self) -> None:
        """After a stop no timer is left, nor made for connections that are still to end."""
        shares = [self.processor.open(name) for name in "ab"]
        for share in shares:
            self.work(share, 0.2)()
        shares[0].close()
        self.processor.stop()
        shares[1].close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_waits_outlives_connections(self) -> None:
        """An owner has one turn a round, over however many connections one after another its work came."""
        for _ in range(3):
            share = self.processor.open("a")
            share.later(self.work(share))
            share.close()
        other = self.processor.open("b")
        other.later(self.work(other))
        while len(self.done) < 4:
            self.clock.turn()
        self.assertEqual(self.done, ["a", "b", "a", "a"])


class ConnectionTests(SynchronousTestCase):
    """Connections under a flood."""

    def setUp(self) -> None:
        self.clock = Time()
        self.served = Served(toy_server(clock=self.clock), [toys])

    def answers(self, connection: Connection) -> int:
        return connection.wire.value().count(b'"done"')

    def test_pipeline(self) -> None:
        """However many requests come at once, each turn of the reactor answers a few, in order."""
        connection = self.served.connect()
        connection.send(message("GET", "/heavy") * 50)
        first = self.answers(connection)
        self.assertLess(first, 3)
        self.clock.turn()
        self.assertLessEqual(self.answers(connection), first + 1)
        for _ in range(60):
            self.clock.turn()
        self.assertEqual(self.answers(connection), 50)

    def test_turn_of_a_pipeline(self) -> None:
        """Whoever waited, and has time of its own, goes on until the time of all who wait is over."""
        connection = self.served.connect()
        connection.send(message("GET", "/heavy") + message("GET", "/light") * 50)
        self.clock.spend(5)
        before = self.answers(connection)
        self.clock.turn()
        self.assertEqual(self.answers(connection) - before, round(SLICE / 0.001))

    def test_others(self) -> None:
        """Another address is answered in the next turn, while the flood waits."""
        flood = [self.served.connect() for _ in range(10)]
        for connection in flood:
            connection.send(message("GET", "/heavy"))
        innocent = Connection(self.served.site, peer="198.51.100.1")
        innocent.send(message("GET", "/nowhere"))
        self.clock.turn()
        self.clock.turn()
        self.assertEqual(innocent.read()[0].status, 404)
        self.assertLess(sum(map(self.answers, flood)), 5)

    def test_new_connections(self) -> None:
        """Of one owner, a few are read from in the turn in which they are accepted; others have their own."""
        new = [Connection(self.served.site) for _ in range(MOST_NEW + 1)]
        self.assertEqual({connection.wire.producerState for connection in new[:-1]}, {"producing"})
        self.assertEqual(new[-1].wire.producerState, "paused")
        innocent = Connection(self.served.site, peer="198.51.100.1")
        self.assertEqual(innocent.wire.producerState, "producing")
        self.clock.turn()
        self.assertEqual(new[-1].wire.producerState, "producing")

    def test_new_connections_of_debtors(self) -> None:
        """Whoever owes time is read from in its turn."""
        self.served.connect().send(message("GET", "/heavy") * 5)
        late = Connection(self.served.site)
        self.assertEqual(late.wire.producerState, "paused")
        while late.wire.producerState == "paused":
            self.clock.turn()

    def test_behind_a_proxy(self) -> None:
        """What a trusted proxy passes on takes the time of those for whom it speaks."""
        trusting = toy_server(Config(trusted_proxies=(ip_network("127.0.0.0/8"),)), clock=self.clock)
        served = Served(trusting, (toys,))
        heavy = message("GET", "/heavy", None, {"X-Forwarded-For": "203.0.113.9"})
        for fast in (True, False):
            for _ in range(2):
                served.connect(peer="127.0.0.1").send(heavy if fast else heavy.replace(b"GET", b"HEAD"))
            self.assertIsNone(served.site.processor.open("address:203.0.113.9").begin())
            self.clock.advance(5)
        self.assertIsNotNone(served.site.processor.open("address:203.0.113.8").begin())

    def test_reading_stops(self) -> None:
        """What waits is not read on for ever."""
        connection = self.served.connect()
        connection.send(message("GET", "/heavy") * 1000)
        self.assertEqual(connection.wire.producerState, "paused")
        while self.answers(connection) < 1000:
            self.clock.turn()
        self.assertEqual(connection.wire.producerState, "producing")

    def test_reading_stays_stopped(self) -> None:
        """Reading begins again when little of a body waits, not for each piece of it."""
        connection = self.served.connect()
        resumed: list[object] = []
        self.patch(connection.wire, "resumeProducing", lambda: resumed.append(None))
        head = message("POST", "/nowhere", None, {"Transfer-Encoding": "chunked"})
        self.patch(Share, "begin", lambda share: None)
        connection.send(head + b"400\r\n%b\r\n" % (b" " * 1024) * 64 + b"0\r\n\r\n")
        for _ in range(40):
            self.clock.turn()
        self.assertIn(b"404", connection.wire.value())
        self.assertLess(len(resumed), 8)

    def chunked(self, chunk: bytes, count: int) -> tuple[int, int]:
        """Send a body in chunks, all at once: the status, and in how many pieces it was worked on."""
        connection = self.served.connect()
        head = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
        pieces: list[float] = []
        self.patch(Share, "charge", lambda share, began: pieces.append(began))
        connection.send(message("POST", "/nowhere", None, head) + chunk * count + b"0\r\n\r\n")
        return connection.read("POST")[0].status, len(pieces)

    def test_chunks(self) -> None:
        """A body in chunks is worked on in pieces, and arrives whole."""
        status, pieces = self.chunked(b"64;name=value\r\n" + b" " * 100 + b"\r\n", 1000)
        self.assertEqual(status, 404)
        self.assertGreater(pieces, 25)

    def test_tiny_chunks(self) -> None:
        """A body that is little but chunks is refused before it has taken much time."""
        for chunk in (b"1\r\n \r\n", b"1;" + b"e" * 1000 + b"\r\n \r\n", b"0" * 900 + b"1\r\n \r\n"):
            self.assertEqual(self.chunked(chunk, 50)[0], 404 if len(chunk) < 10 else 400)
            status, pieces = self.chunked(chunk, 20_000)
            self.assertEqual(status, 400)
            self.assertLess(pieces, 20)

    def test_lost(self) -> None:
        """The work of a connection that is gone is left undone."""
        connection = self.served.connect()
        connection.send(message("GET", "/heavy") * 50)
        connection.lose()
        before = self.answers(connection)
        for _ in range(60):
            self.clock.turn()
        self.assertEqual(self.answers(connection), before)

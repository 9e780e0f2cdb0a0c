"""How a server looks from where its clients are: through its address, with whatever stands in between."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from happy.operator.checks import Check
from happy.settings.parsers import web_url

if TYPE_CHECKING:
    from happy.settings.config import Config

SECONDS = 4.0
BANNER = b"Welcome to Happy Server!"
SOON = 14
"""Days before its end from which on a certificate is worth a word."""
_BODY = 1_500_000
"""Bytes that the server may answer as it likes, and that a proxy with nginx's default refuses itself."""
_MOST = 64 * 1024
_POLLING = "/v1/updates/?EIO=4&transport=polling"
_WEBSOCKET = "/v1/updates/?EIO=4&transport=websocket"
_CHAIN = (
    "send the whole chain, not the certificate alone (fullchain.pem); with a certificate of your own, give "
    "its authority to the clients (NODE_EXTRA_CA_CERTS)"
)


class Unreachable(Exception):
    """There is no connection; the message says why."""


class Answered(http.client.HTTPResponse):
    """An answer, with as much of its body as is of interest."""

    content: bytes


def from_outside(address: str, config: Config) -> Iterator[Check]:
    """Look at a server through the address that clients are given."""
    try:
        url = urlsplit(web_url(address))
        yield from _certificate(url)
        answer = _asked(url, "GET", "/")
    except ValueError as why:
        yield Check("reachable", "fail", f"{address} must {why}", "give it as clients have it")
        return
    except Unreachable as why:
        yield Check(
            "reachable", "fail", f"{address}: {why}", "start the server, open the port, check the name"
        )
        return
    yield _banner(address, answer)
    for look in (_polling, _websocket, _body):
        try:
            yield look(url)
        except Unreachable as why:
            yield Check(look.__name__.strip("_"), "fail", str(why), "look at the log of the proxy")
    yield _forwarded(url, answer, config)


def _certificate(url: SplitResult) -> Iterator[Check]:
    if url.scheme != "https":
        if url.hostname not in ("localhost", "127.0.0.1", "::1"):
            fix = "phones want https outside of your own network"
            yield Check("TLS", "warn", f"{url.netloc} is not encrypted", fix)
        return
    with _connected(url) as connection:
        found = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    assert found
    days = int((ssl.cert_time_to_seconds(str(found["notAfter"])) - time.time()) / 86_400)
    if days < SOON:
        yield Check("TLS", "warn", f"the certificate ends in {days} days", "renew it, then reload the server")
    else:
        yield Check("TLS", "ok", f"the certificate is good for {days} days, and its chain is complete")


def _banner(address: str, answer: Answered) -> Check:
    if answer.status == 200 and BANNER in answer.content:
        return Check("banner", "ok", f"{address} is a Happy server")
    if answer.status == 200 and b"<html" in answer.content.lower():
        return Check("banner", "warn", f"{address} answers with a page, as with a web app", "")
    return Check(
        "banner",
        "fail",
        f"{address} answers with status {answer.status}, and not as a Happy server does",
        "let the proxy pass everything from / on, and give clients the address without a path",
    )


def _polling(url: SplitResult) -> Check:
    answer = _asked(url, "GET", _POLLING)
    if answer.status == 200 and answer.content.startswith(b"0{"):
        return Check("polling", "ok", "sockets without WebSocket work")
    return Check(
        "polling",
        "fail",
        f"/v1/updates/ answers with status {answer.status}",
        "let the proxy pass /v1/updates/",
    )


def _websocket(url: SplitResult) -> Check:
    key = b64encode(os.urandom(16)).decode()
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    answer = _asked(url, "GET", _WEBSOCKET, headers={**headers, "Sec-WebSocket-Key": key})
    if answer.status == 101:
        return Check("websocket", "ok", "the upgrade to WebSocket works")
    return Check(
        "websocket",
        "fail",
        f"the upgrade to WebSocket is answered with status {answer.status}",
        "let the proxy pass the headers Upgrade and Connection, by HTTP/1.1; docs/proxies.md has recipes",
    )


def _body(url: SplitResult) -> Check:
    answer = _asked(url, "POST", "/v1/auth", body=b'{"x":"' + bytes(_BODY).replace(b"\0", b"x") + b'"}')
    ours = "json" in (answer.getheader("content-type") or "")
    if ours or answer.status not in (403, 413, 502, 503):
        return Check("body size", "ok", "large requests reach the server")
    return Check(
        "body size",
        "fail",
        f"a proxy refuses a request of {_BODY} bytes with status {answer.status}",
        "raise its limit to 101 MB (nginx: client_max_body_size 101m)",
    )


def _forwarded(url: SplitResult, answer: Answered, config: Config) -> Check:
    server = answer.getheader("server") or ""
    between = answer.getheader("via") or server
    if not between:
        return Check("forwarded headers", "ok", "no proxy shows itself")
    if not config.trusted_proxies:
        return Check(
            "forwarded headers",
            "warn",
            f"a proxy ({between}) is between, and none is trusted: all clients count as one address",
            "set trusted-proxies to the network that it connects from",
        )
    return Check("forwarded headers", "ok", f"a proxy ({between}) is between, and one is trusted")


def _asked(
    url: SplitResult, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answered:
    """The answer to a request on a connection of its own. Raises Unreachable."""
    with _connected(url) as connection:
        asking = http.client.HTTPConnection(url.hostname or "", timeout=SECONDS)
        asking.response_class = Answered
        asking.sock = connection
        given = {"Host": url.netloc.rpartition("@")[2], **(headers or {})}
        if body is not None:
            given["Content-Type"] = "application/json"
        with suppress(OSError):  # who refuses a large body may not wait for its end, and has answered
            asking.request(method, url.path + path, body, given)
        try:
            answer = asking.getresponse()
            assert isinstance(answer, Answered)
            answer.content = b"" if answer.status == 101 else answer.read(_MOST)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"no answer to {method} {path.partition('?')[0]} ({_named(error)})") from None
        return answer


def _connected(url: SplitResult) -> socket.socket:
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        connection = socket.create_connection((url.hostname or "", port), SECONDS)
    except OSError as error:
        raise Unreachable(_named(error)) from None
    if url.scheme != "https":
        return connection
    try:
        context = ssl.create_default_context()
        # Python 3.13 refuses certificates that the clients take, such as those without a key identifier.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context.wrap_socket(connection, server_hostname=url.hostname)
    except ssl.SSLCertVerificationError as error:
        connection.close()
        raise Unreachable(f"the certificate is refused: {error.verify_message}; {_CHAIN}") from None
    except OSError as error:
        connection.close()
        raise Unreachable(f"no TLS: {_named(error)}") from None


def _named(error: Exception) -> str:
    return getattr(error, "strerror", None) or (
        "it takes too long" if isinstance(error, TimeoutError) else str(error)
    )

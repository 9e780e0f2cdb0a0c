"""Requests that two parsers could understand differently, and bytes that cannot be HTTP at all.

A right server answers 400 to each, or another status of 4xx, and closes at once; the same from its fast
parser and from the general one. Never does a second request hide in the first.
"""

from tests.hostile.clients import GONE
from tests.hostile.scene import Misbehaved, Scene

SMUGGLED = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
ODD = (
    b"Transfer-Encoding: identity\r\n\r\n",
    b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    b"Content-Length: +2\r\n\r\n{}",
    b"Content-Length: -2\r\n\r\n{}",
    b"Content-Length: 0x2\r\n\r\n{}",
    b"Content-Length: 2, 2\r\n\r\n{}",
    b"Content-Length: 2\r\n 3\r\n\r\n{}",
    b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}",
    b"X-A: b\r\n\tc\r\nContent-Length: 2\r\n\r\n{}",
    b"Content-Length : 2\r\n\r\n{}",
    b"Content-Length: 2\nX-A: b\r\n\r\n{}",
    b"X-A\r\nContent-Length: 2\r\n\r\n{}",
    b"X-A: \0\r\nContent-Length: 2\r\n\r\n{}",
    b"Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
)
JUNK = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    b"\n\n\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00" * 200,
    b"\xff\xfe\xfd" * 100 + b"\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET  / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"get\x00 / HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
)


def attack(scene: Scene) -> str:
    """Each alone, and each with a request hidden behind it; then floods of them."""
    faults = []
    for number, odd in enumerate(ODD):
        for fields in (b"", b"X-Unusual: yes\r\nExpect: \r\n"):
            data = b"POST /v1/auth HTTP/1.1\r\nHost: x\r\n" + fields + odd + SMUGGLED
            faults += [f"oddity {number}: {fault}" for fault in _faults(scene, data)]
    for number, junk in enumerate(JUNK):
        faults += [f"junk {number}: {fault}" for fault in _faults(scene, junk)]
    if faults:
        raise Misbehaved(f"{len(faults)} taken wrongly: " + "; ".join(faults[:6]))
    for number in scene.until(0.3, 10):
        scene.pour([JUNK[number % len(JUNK)] * 200])
    return f"{2 * len(ODD) + len(JUNK)} kinds refused"


def _faults(scene: Scene, data: bytes) -> list[str]:
    """What was wrong with the answer to what must be refused."""
    lane = scene.dial(timeout=1)
    got = b""
    try:
        lane.write(data)
        while piece := lane.plain.recv(65536):
            got += piece
    except TimeoutError:
        return ["not closed" + (", " + repr(got[:15]) if got else ", no answer")]
    except GONE:
        pass
    finally:
        lane.close()
    faults = []
    if got.count(b"HTTP/1.1 ") > 1:
        faults.append("two answers")
    if got and not got.startswith(b"HTTP/1.1 4") and not got.startswith(b"HTTP/1.1 505"):
        faults.append(repr(got[:15]))
    return faults

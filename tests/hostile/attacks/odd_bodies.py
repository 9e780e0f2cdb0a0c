"""Bodies where none belongs, compressed, announced and not sent, with extensions and trailers; long queries.

A right server answers each with a status that says what is wrong, or reads it as any other, and takes no
second request out of a first one.
"""

import gzip

from tests.hostile.clients import END, GONE, Lane, head
from tests.hostile.scene import Misbehaved, Scene

GZIPPED = gzip.compress(b'{"a":"' + b"a" * 50_000_000 + b'"}')
CHUNKED = "Transfer-Encoding: chunked"


def attack(scene: Scene) -> str:
    """Each on its own connection, in turns, from a few at once."""
    token, count = scene.login(), [0]
    query = "&".join(f"a{one}=%41" for one in range(1500))[:15_000]
    extended = b"".join(b"1;%s\r\nx\r\n" % (b"e" * 500) for _ in range(200)) + b"0\r\n"
    trailers = b"".join(b"T%d: x\r\n" % one for one in range(1000))
    wishes = (
        head("GET", "/v1/sessions", token, 900_000) + b"x" * 900_000,
        head("POST", "/v1/sessions", token, len(GZIPPED), "Content-Encoding: gzip") + GZIPPED,
        head("POST", "/v1/sessions", token, None, CHUNKED) + extended + trailers + b"\r\n",
        head("POST", "/v1/sessions", token, 900_000, "Expect: 100-continue"),
        head("POST", "/v1/sessions", token, 5, "Expect: " + "x" * 9000) + b"[1,2]",
        head("GET", f"/v1/sessions?{query}", token),
        head("GET", f"/v1/user/search?query={'%25' * 5000}", token),
        head("GET", f"/v2/sessions?cursor={'cursor_v1_' * 1500}", token),
        head("GET", f"/files/{'a/' * 7000}x", token),
        head("GET", "/v1/account/profile", token, None, *["Authorization: Bearer x"] * 100),
        head("POST", "/v1/kv", token, 12, *["Content-Type: application/json"] * 150) + b'{"mutations"',
        head("GET", "/", None, None, "Range: bytes=" + ",".join(f"{one}-" for one in range(2500))),
        head("DELETE", "/v1/sessions/" + "%41" * 5000, token),
    )

    def send(number: int) -> None:
        for turn in scene.until(0.4, 10):
            which = (number + turn) % len(wishes)
            try:
                lane = scene.dial(timeout=3)
                _ask(lane, wishes[which], which)
            except GONE:
                continue
            count[0] += 1

    scene.together(scene.pick(4, 8), send)
    return f"{count[0]:,} requests"


def _ask(lane: Lane, wish: bytes, which: int) -> None:
    lane.write(wish)
    if b"100-continue" in wish:
        lane.line(END)
    else:
        answer = lane.answer()
        if answer.status >= 500:
            raise Misbehaved(f"wish {which}: {answer.status} {answer.body[:80]!r}")
    lane.close()

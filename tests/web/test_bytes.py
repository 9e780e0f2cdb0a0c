"""Any bytes on a connection, in any pieces."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.toys import toy_server
from tests.web.resources import ANN, toys
from tests.web.talking import Served, message

SERVED = Served(toy_server(), [toys])
DATE = re.compile(rb"Date: [^\r]*\r\n")

WHOLE = [
    message("GET", "/"),
    message("POST", "/toys", b'{"name":"abc"}', {"authorization": ANN}),
    message("POST", "/toys", None, {"transfer-encoding": "chunked", "content-type": "application/json"})
    + b'5\r\n{"nam\r\n9;x=y\r\ne":"abc"}\r\n0\r\n\r\n',
    message("GET", "/toys/a%20b?c=d", b"{", {"authorization": ANN}),
    message("OPTIONS", "/toys", None, {"origin": "o", "access-control-request-method": "PUT"}),
    message("HEAD", "/nowhere"),
    message("DELETE", "/toys/%zz"),
    message("GET", "/", None, {"connection": "close"}),
    b"NONSENSE\r\n",
    b"\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
]
MANGLED = st.tuples(st.sampled_from(WHOLE), st.integers(0, 200), st.binary(max_size=5)).map(
    lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + len(parts[2]) :]
)
STREAMS = st.lists(st.sampled_from(WHOLE) | MANGLED | st.binary(max_size=40), min_size=1, max_size=4).map(
    b"".join
)


def outcome(pieces: list[bytes]) -> tuple[bytes, bool]:
    """What the server said to these pieces, and whether it is done with the connection."""
    connection = SERVED.connect()
    for piece in pieces:
        connection.send(piece)
    said = DATE.sub(b"", connection.wire.value())
    closing = connection.closing
    connection.lose()
    return said, closing


@given(STREAMS, st.lists(st.integers(0, 400), max_size=6))
def test_pieces_do_not_matter(stream: bytes, cuts: list[int]) -> None:
    """However bytes are cut into pieces, the answers are the same, and nothing is left under way."""
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    assert outcome(pieces) == outcome([stream])
    assert len(SERVED.router.work) == 0

"""What a client is told that comes back to another node: what it missed at the former one, then here."""

from __future__ import annotations

from happy.cluster.claims import _digest, _joined
from happy.cluster.wire import Belongings


def update(seq: int) -> tuple[str, bytes]:
    return "update", b'{"id":"u","seq":%d}' % seq


def test_told_at_both() -> None:
    """An update or a signal that both nodes have is told once, even beyond what the former vouches for."""
    signal, heard, own = ("ephemeral", b"1"), ("ephemeral", b"2"), ("ephemeral", b"3")
    left = Belongings("id", [], None, [update(4), signal, update(5), update(6)], [_digest(heard[1])], 6)
    here = [update(5), signal, update(6), heard, update(7), own]
    assert _joined(left, here) == [*left.missed, update(7), own]

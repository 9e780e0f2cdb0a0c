"""Messages as notices of PostgreSQL, and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from happy.cluster.notices import LARGEST, NoticeReader, NoticeWriter, bytes_of

CHANNEL = "a:cmb0000000000000000000000"


def there_and_back(payload: bytes, reader: NoticeReader) -> bytes:
    """A payload after its way, the size of whose notices is looked at."""
    notices = NoticeWriter().write(CHANNEL, payload)
    assert all(len(notice.encode()) <= LARGEST and "\0" not in notice for notice in notices)
    *pieces, last = (reader.read(1, notice) for notice in notices)
    assert set(pieces) <= {None}
    assert last is not None and last[0] == CHANNEL
    return bytes_of(last[1])


@given(st.lists(st.binary(max_size=100)))
def test_any_bytes(payloads: list[bytes]) -> None:
    """Whatever the bytes are, they arrive."""
    reader = NoticeReader()
    assert [there_and_back(payload, reader) for payload in payloads] == payloads


def test_any_size() -> None:
    """Payloads arrive around every size at which they take one more notice."""
    reader = NoticeReader()
    for start in (3_800, 7_700, 11_600, 100_000):
        for size in range(start, start + 200, 7):
            for byte in (b"x", b"\xff", b"\0", b"\n"):
                assert there_and_back(byte * size, reader) == byte * size


def test_equal_messages_differ() -> None:
    """PostgreSQL tells equal notices of a transaction once: there are none."""
    writer = NoticeWriter()
    assert writer.write(CHANNEL, b"1") != writer.write(CHANNEL, b"1")


def test_ascii_stays_small() -> None:
    """What clients send is mostly ASCII, of which one notice takes most of a page."""
    assert len(NoticeWriter().write(CHANNEL, b"x" * 7_700)) == 1


def test_senders_are_kept_apart() -> None:
    """The pieces of one sender's message are not mixed with another's, whole or broken off."""
    reader = NoticeReader()
    first = NoticeWriter().write(CHANNEL, b"1" * 10_000)
    second = NoticeWriter().write(CHANNEL, b"2" * 10_000)
    found = [
        reader.read(sender, pair[sender]) for pair in zip(first, second, strict=True) for sender in (0, 1)
    ]
    assert found[-2:] == [(CHANNEL, "1" * 10_000), (CHANNEL, "2" * 10_000)]
    assert reader.read(0, first[0]) is None
    assert [reader.read(0, piece) for piece in first][-1] == (CHANNEL, "1" * 10_000)

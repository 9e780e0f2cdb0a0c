"""Files on the wire: parts, conditions and types."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.api.declare import Capability
from happy.api.structs import Blob
from happy.web.ranges import Part, range_headers, requested_part, unchanged
from tests.toys import toy_server
from tests.web.talking import Served

CONTENT = bytes(range(256)) * 1000
files = Capability("files")


@files.get("/part", public=True)
async def part(server: Any) -> Blob:
    """A file that may be asked for in parts."""
    return Blob(
        path=server.objects, ranges=True, content_type="image/png", headers={"cache-control": "public"}
    )


@files.get("/whole", public=True)
async def whole(server: Any) -> Blob:
    """A file that comes as a whole."""
    return Blob(path=server.objects)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return Served(toy_server(objects=path), [files])


def test_whole_file(served: Served) -> None:
    """A file is sent with its length and type, and nothing about parts unless it has some."""
    reply = served.ask("GET", "/whole", range="bytes=0-1")
    assert (reply.status, reply.body) == (200, CONTENT)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-length"] == str(len(CONTENT))
    assert "etag" not in reply.headers
    assert "accept-ranges" not in reply.headers


def test_validators(served: Served) -> None:
    """A file with parts says what version it is."""
    reply = served.ask("GET", "/part")
    assert (reply.status, reply.body) == (200, CONTENT)
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert reply.headers["etag"].startswith('W/"')
    assert reply.headers["cache-control"] == "public"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100000-", 100_000, 256_000),
        ("bytes=-5", 255_995, 256_000),
        ("bytes=255999-999999", 255_999, 256_000),
        ("bytes=-999999", 0, 256_000),
    ],
)
def test_parts(served: Served, asked: str, start: int, end: int) -> None:
    """One range is sent as a part."""
    reply = served.ask("GET", "/part", range=asked)
    assert (reply.status, reply.body) == (206, CONTENT[start:end])
    assert reply.headers["content-range"] == f"bytes {start}-{end - 1}/256000"
    assert reply.headers["content-length"] == str(end - start)


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "bytes=5-1", "bytes=-", "lines=0-1", "bytes=a-b", "bytes"]
)
def test_unusable_ranges(served: Served, asked: str) -> None:
    """A range that cannot be used is ignored."""
    assert served.ask("GET", "/part", range=asked).status == 200


def test_unsatisfiable(served: Served) -> None:
    """A range behind the end has nothing."""
    reply = served.ask("GET", "/part", range="bytes=256000-")
    assert (reply.status, reply.body, reply.headers["content-range"]) == (416, b"", "bytes */256000")


def test_head(served: Served) -> None:
    """HEAD has the same headers, for parts too."""
    for headers in ({}, {"range": "bytes=0-9"}):
        got, head = served.ask("GET", "/part", **headers), served.ask("HEAD", "/part", **headers)
        assert (head.status, head.headers, head.body) == (got.status, got.headers, b"")


def test_unchanged(served: Served) -> None:
    """Who has this version gets nothing but its name; the tag counts before the date."""
    known = served.ask("GET", "/part").headers
    for headers in (
        {"if_none_match": known["etag"]},
        {"if_none_match": '"other", ' + known["etag"]},
        {"if_none_match": "*"},
        {"if_modified_since": known["last-modified"]},
        {"if_none_match": known["etag"], "if_modified_since": "Mon, 01 Jan 2001 00:00:00 GMT"},
    ):
        reply = served.ask("GET", "/part", **headers)
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["etag"] == known["etag"]
        assert "content-length" not in reply.headers
        assert "content-type" not in reply.headers
    for headers in (
        {"if_none_match": '"other"', "if_modified_since": known["last-modified"]},
        {"if_modified_since": "Mon, 01 Jan 2001 00:00:00 GMT"},
        {"if_modified_since": "nonsense"},
    ):
        assert served.ask("GET", "/part", **headers).status == 200


def test_if_range(served: Served) -> None:
    """A part is only worth something to who has this version of the rest."""
    known = served.ask("GET", "/part").headers
    dated = served.ask("GET", "/part", range="bytes=0-1", if_range=known["last-modified"])
    assert dated.status == 206
    for other in (known["etag"], '"other"', "Mon, 01 Jan 2001 00:00:00 GMT", "nonsense"):
        assert served.ask("GET", "/part", range="bytes=0-1", if_range=other).status == 200


def test_missing_file(served: Served) -> None:
    """A file that vanished meanwhile, or a folder, is an error of ours."""
    for name in ("gone", "."):
        broken = Served(
            toy_server(objects=Path("/nonexistent") / name if name == "gone" else Path()), [files]
        )
        reply = broken.ask("GET", "/whole")
        assert (reply.status, reply.json["error"]) == (500, "Internal Server Error")


@given(st.text(max_size=30), st.integers(0, 100))
def test_parts_are_total(asked: str, size: int) -> None:
    """Whatever is asked for, the part lies within the file."""
    part = requested_part({"range": asked}.get, size)
    assert 0 <= part.start <= part.start + part.length <= size
    range_headers(part, size)


@given(st.integers(0, 120), st.integers(0, 120), st.integers(0, 100))
def test_ranges_mean_slices(first: int, last: int, size: int) -> None:
    """A range is a slice with its last byte."""
    part = requested_part({"range": f"bytes={first}-{last}"}.get, size)
    content = bytes(size)
    if part.status == 206:
        assert content[part.start : part.start + part.length] == content[first : last + 1]
    elif part.status == 416:
        assert part == Part(416, 0, 0)
        assert not content[first:]


@given(st.dictionaries(st.sampled_from(["if-none-match", "if-modified-since"]), st.text(max_size=30)))
def test_conditions_are_total(headers: dict[str, str]) -> None:
    """Any condition is fulfilled or not."""
    unchanged(headers.get, '"tag"', 5)

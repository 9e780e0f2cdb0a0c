"""Reading a session back (http.md M2)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from happy.bench.accounts import Account, Unusable
from happy.bench.bench import Bench
from happy.bench.loop import now

PAGE = 500


class Stored(msgspec.Struct, gc=False, rename="camel"):
    """A stored message, as far as the tool looks at it."""

    seq: int
    local_id: str | None = None


class _Page(msgspec.Struct, rename="camel"):
    messages: list[Stored]
    has_more: bool


_decode = msgspec.json.Decoder(_Page).decode


async def pages(
    bench: Bench, account: Account, session: str, *, backwards: bool = False, limit: int = PAGE
) -> AsyncIterator[tuple[list[Stored], float]]:
    """The pages of a session from one end to the other, each with the seconds it took.

    Raises Unusable for an answer other than 200.
    """
    cursor, more = 2147483647 if backwards else 0, True
    name = "before_seq" if backwards else "after_seq"
    while more:
        path = f"/v3/sessions/{session}/messages?{name}={cursor}&limit={limit}"
        begin = now()
        answer = await bench.http.ask("GET", path, account.token)
        if answer.status != 200:
            raise Unusable(f"cannot read a session: the server answers {answer.status}")
        page = _decode(answer.body)
        yield page.messages, now() - begin
        more = page.has_more and bool(page.messages)
        if page.messages:
            cursor = page.messages[-1].seq


async def read_session(bench: Bench, account: Account, session: str) -> list[Stored]:
    """Every message of a session, oldest first. Raises Unusable."""
    stored: list[Stored] = []
    async for page, _ in pages(bench, account, session):
        stored += page
    return stored


def numbers_of(stored: list[Stored], prefix: str) -> list[int]:
    """The sender's numbers in local ids that begin with ``prefix``, in stored order."""
    size = len(prefix)
    return [int(one.local_id[size:]) for one in stored if one.local_id and one.local_id.startswith(prefix)]

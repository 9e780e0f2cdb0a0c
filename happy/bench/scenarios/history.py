"""A long session: filled in batches, then read from both ends."""

from __future__ import annotations

from happy.bench.accounts import Account, Unusable
from happy.bench.bench import Bench
from happy.bench.checks import Verdict, judge_history
from happy.bench.history import Stored, numbers_of, pages
from happy.bench.loop import gather, now

MESSAGES = 100_000
_BATCH = 100
_AT_ONCE = 8
_PAGE = 100
"""What the clients ask for."""


class History:
    """``--messages`` messages of ``--size`` bytes, pages of 100."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._prefix = f"{bench.job.run}-"
        self._text = bench.text(bench.load.size)
        self._forward: list[Stored] = []
        self._backward: list[Stored] = []

    async def prepare(self) -> None:
        """Make the session."""
        self._account: Account = await self._bench.accounts.log_in(self._bench.job.index)
        self._session = await self._bench.accounts.session(self._account, "history")

    async def run(self, begin: float) -> None:
        """Fill, read forwards, read backwards."""
        bench = self._bench
        self._count = bench.load.messages or MESSAGES
        numbers = range(1, self._count + 1)
        batches = (numbers[first : first + _BATCH] for first in range(0, self._count, _BATCH))
        await gather((self._fill(batch) for batch in batches), _AT_ONCE)
        filled = now()
        self._forward = await self._read("pages forwards", backwards=False)
        turned = now()
        self._backward = await self._read("pages backwards", backwards=True)
        bench.figures["filling_seconds"] = filled - begin
        bench.figures["forwards_seconds"] = turned - filled
        bench.figures["backwards_seconds"] = now() - turned

    async def _fill(self, batch: range) -> None:
        items = [{"content": self._text, "localId": f"{self._prefix}{number}"} for number in batch]
        path = f"/v3/sessions/{self._session}/messages"
        begun = now()
        answer = await self._bench.http.ask("POST", path, self._account.token, {"messages": items})
        if answer.status != 200:
            raise Unusable(f"cannot store messages: the server answers {answer.status}")
        self._bench.recorder.note("stored", now() - begun, len(batch))

    async def _read(self, name: str, *, backwards: bool) -> list[Stored]:
        found: list[Stored] = []
        async for page, seconds in pages(
            self._bench, self._account, self._session, backwards=backwards, limit=_PAGE
        ):
            self._bench.recorder.note(name, seconds)
            found += page
        return found

    async def verify(self) -> None:
        """Both readings must have every message once, in the order of their numbers."""
        verdict = self._bench.verdict
        verdict.add(_judge(self._forward, self._prefix, self._count))
        if self._backward[::-1] != self._forward:
            verdict.reordered += 1


def _judge(stored: list[Stored], prefix: str, count: int) -> Verdict:
    """Batches were posted side by side: only the server's own numbers tell the order."""
    seqs = [one.seq for one in stored]
    verdict = judge_history(sorted(numbers_of(stored, prefix)), range(1, count + 1))
    verdict.reordered += seqs != list(range(1, len(seqs) + 1))
    return verdict

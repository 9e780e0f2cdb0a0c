"""A server made of toys: what the HTTP machinery needs of the real one, in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from happy.base.bounds import Budget
from happy.base.pace import Pace
from happy.capabilities.server import Server
from happy.keys.access import Access
from happy.keys.tokens import Bearer
from happy.logs.events import Events
from happy.metrics import Metrics
from happy.settings.config import Config
from happy.storage.linearizer import Linearizer


class ToyDatabase:
    """Runs work at once and notes how: ``("read",)``, ``("transact", accounts)`` and how it ended."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []
        self.linearizer = Linearizer()

    async def read(self, work: Callable[[Any], Awaitable[Any]], *, owner: str) -> Any:
        self.notes.append(("read",))
        return await work("tx")

    async def transact(
        self, work: Callable[[Any], Awaitable[Any]], *, accounts: Sequence[str] = (), owner: str | None = None
    ) -> Any:
        self.notes.append(("transact", tuple(accounts)))
        try:
            result = await work("tx")
        except BaseException:
            self.notes.append(("rolled back",))
            raise
        self.notes.append(("committed",))
        return result


class ToyTokens:
    """``a.token.of-ACCOUNT`` is the token of ACCOUNT; ``breaks`` is one that cannot be checked."""

    def __init__(self) -> None:
        self.checked = 0
        self.access = Access()

    def identify(self, token: str) -> Bearer | None:
        account = self.verify(token)
        return None if account is None else Bearer(sub=account, iss="handy")

    def verify(self, token: str) -> str | None:
        self.checked += 1
        if token == "breaks":
            raise RuntimeError("no")
        return token.removeprefix("a.token.of-") if token.startswith("a.token.of-") else None

    def why_refused(self, token: str) -> str:
        return "not a token of ours"


class ToyThreads:
    """Makes calls at once."""

    def run(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return maybeDeferred(call, *args)

    def run_for(self, owner: str, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return self.run(call, *args)

    def within(self, seconds: float, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return self.run(call, *args)

    def within_for(self, owner: str, seconds: float, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return self.run(call, *args)


def toy_server(config: Config | None = None, **changes: Any) -> Server:
    """A server with a fake clock, database and tokens; ``changes`` replace parts of it."""
    clock = changes.get("clock", Clock())
    parts: dict[str, Any] = {
        "config": config or Config(),
        "clock": clock,
        "now": clock.seconds,
        "memory": Budget(256 * 1024 * 1024),
        "pace": Pace(clock),
        "metrics": Metrics(),
        "events": Events(Clock()),
        "files": ToyThreads(),
        "pages": ToyThreads(),
        "database": ToyDatabase(),
        "tokens": ToyTokens(),
    }
    missing = dict.fromkeys(Server.__dataclass_fields__)
    return cast("Server", SimpleNamespace(**{**missing, **parts, **changes}))

"""Many sockets at once, in the proportions of the hosted service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, islice

from happy.bench.accounts import Account, Scope
from happy.bench.bench import Bench
from happy.bench.links import Link, Refused
from happy.bench.loop import gather, now
from happy.bench.streams import Unreachable

Login = tuple[Account, Scope]


def scopes() -> Iterator[Scope]:
    """Scopes of sockets in about these proportions: 26 machines, 53 sessions, 1 app, and again."""
    machine, session, app = Scope.machine("bench"), Scope.session("bench"), Scope.app()
    return cycle([machine, session, session] * 26 + [session, app])


def logins(accounts: list[Account], sockets: int) -> list[Login]:
    """That many sockets over the accounts."""
    return list(islice(zip(cycle(accounts), scopes(), strict=False), sockets))


class Crowd:
    """Sockets that stay. ``at_once`` connections are being made at any time."""

    def __init__(self, bench: Bench, at_once: int, heard: Callable[[bytes], None]) -> None:
        self._bench = bench
        self._at_once = at_once
        self._heard = heard
        self.links: list[Link] = []

    async def join(self, logins: list[Login]) -> None:
        """Connect them all; failures are errors, not the end."""
        await gather((self._join(*login) for login in logins), self._at_once)

    async def _join(self, account: Account, scope: Scope) -> None:
        begun = now()
        try:
            link = self._bench.link(account, scope, self._heard)
            await self._bench.loop.within(60.0, link.joined)
        except (Refused, Unreachable, TimeoutError) as error:
            self._bench.recorder.error(f"cannot connect: {error}")
        else:
            self._bench.recorder.note("connections", now() - begun)
            self.links.append(link)

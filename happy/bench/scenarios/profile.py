"""The load of the hosted service: heartbeats, messages and calls of many accounts, at a fixed rate."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Any

from happy.bench.accounts import AT_ONCE, Unusable
from happy.bench.actors import Actor, App, Daemon, Heart, Terminal
from happy.bench.bench import Bench
from happy.bench.checks import judge_history
from happy.bench.history import numbers_of, read_session
from happy.bench.loop import gather, now
from happy.bench.pace import Pace
from happy.bench.passers import Passers
from happy.bench.population import Population

_JOINING_AT_ONCE = 64


class Household:
    """Everybody of one account."""

    def __init__(self, bench: Bench, people: Population, number: int) -> None:
        self._bench = bench
        self._number = number
        self._session_numbers = range(number, people.sessions, people.accounts)
        self._machine_numbers = range(number, people.machines, people.accounts)
        self._app_numbers = range(number, people.apps, people.accounts)
        self.terminals: list[Terminal] = []
        self.daemons: list[Daemon] = []
        self.apps: list[App] = []

    async def found(self, text: bytes) -> None:
        """Make the account with its sessions and machines."""
        bench, accounts = self._bench, self._bench.accounts
        account = await accounts.log_in(self._number)
        for number in self._machine_numbers:
            machine = await accounts.machine(account, f"{bench.job.run}-{number}")
            self.daemons.append(Daemon(bench, account, machine))
        for number in self._session_numbers:
            session = await accounts.session(account, f"profile {number}")
            self.terminals.append(Terminal(bench, account, session, text))
        self.apps = [App(bench, account, self.daemons[0].method) for _ in self._app_numbers]
        self._introduce()

    def _introduce(self) -> None:
        """Every other terminal of an account with an app sends through its socket, and the app listens."""
        if self.apps:
            for terminal in self.terminals[::2]:
                terminal.app = self.apps[0]
                self.apps[0].talks[terminal.talk.session] = terminal.talk

    @property
    def actors(self) -> list[Actor]:
        """All sockets, machines first so that their methods are there."""
        return [*self.daemons, *self.terminals, *self.apps]


class Profile:
    """The hosted service at ``--scale``, for ``--seconds`` or until it is enough."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._people = Population.of(bench.load.scale, bench.load.accounts, bench.load.messages)
        share = bench.job.share(self._people.accounts)
        self._homes = [Household(bench, self._people, number) for number in share]
        self._passers = Passers(bench, self._people.accounts + bench.job.index)

    async def prepare(self) -> None:
        """Make all accounts and connect everybody."""
        text = self._bench.text(self._bench.load.size).encode()
        await self._each("accounts", [home.found(text) for home in self._homes], AT_ONCE)
        self._actors = [actor for home in self._homes for actor in home.actors]
        await self._each("sockets", [actor.join() for actor in self._actors], _JOINING_AT_ONCE)
        self._terminals = [one for home in self._homes for one in home.terminals]
        self._daemons = [one for home in self._homes for one in home.daemons]
        self._apps = [one for home in self._homes for one in home.apps]
        if self._bench.load.passing:
            await self._passers.prepare()

    async def _each(self, what: str, coroutines: list[Coroutine[Any, Any, None]], at_once: int) -> None:
        done = 0

        async def one(coroutine: Coroutine[Any, Any, None]) -> None:
            nonlocal done
            await coroutine
            done += 1
            if done % 100 == 0:
                self._bench.progress(what, done, len(coroutines))

        await gather((one(coroutine) for coroutine in coroutines), at_once)

    async def run(self, begin: float) -> None:
        """All the traffic, from the first second."""
        end = begin + self._bench.load.seconds
        workers = self._bench.job.workers
        paces = [Pace(self._bench.loop, rate / workers, act) for rate, act in self._traffic()]
        for pace in paces:
            pace.begin(begin, end)
        with suppress(TimeoutError):
            await self._bench.loop.within(end - now(), self._bench.enough)
        for pace in paces:
            pace.end()

    def _traffic(self) -> list[tuple[float, Callable[[float], None]]]:
        people = self._people
        posting = [one for one in self._terminals if one.app is None]
        sending = [one for one in self._terminals if one.app is not None]
        half = people.messages / 2 if sending and posting else people.messages
        traffic = [
            (people.session_heartbeats, self._beating("session heartbeats", self._terminals)),
            (people.machine_heartbeats, self._beating("machine heartbeats", self._daemons)),
        ]
        if sending:
            traffic.append((half, self._sending(sending)))
        if posting:
            traffic.append((half, self._posting(posting)))
        if self._apps:
            apps = cycle(self._apps)
            traffic.append((people.calls, lambda due: next(apps).call(due)))
        traffic.append((self._bench.load.passing, self._passers.come))
        return traffic

    def _beating(self, name: str, clients: Sequence[Terminal | Daemon]) -> Callable[[float], None]:
        turn = cycle(clients)
        count = self._bench.recorder.count

        def beat(due: float) -> None:
            heart: Heart | None = next(turn).heart
            if heart is not None and heart.beat():
                count(name)

        return beat

    def _sending(self, terminals: list[Terminal]) -> Callable[[float], None]:
        turn = cycle(terminals)

        def send(due: float) -> None:
            terminal = next(turn)
            if terminal.link is not None and terminal.app is not None and terminal.app.link is not None:
                terminal.talk.send(terminal.link, due)

        return send

    def _posting(self, terminals: list[Terminal]) -> Callable[[float], None]:
        turn = cycle(terminals)

        def post(due: float) -> None:
            for terminal, _ in zip(turn, range(len(terminals)), strict=False):
                if not terminal.talk.busy:
                    self._bench.loop.spawn(terminal.talk.post(terminal.account, due))
                    return
            self._bench.recorder.error("every session waits for an answer")

        return post

    async def verify(self) -> None:
        """Wait for what is on its way, then read back every session that was written to."""
        await self._bench.until(self._settled)
        for actor in self._actors:
            actor.leave()
        self._bench.verdict.lost += sum(app.waiting for app in self._apps)
        written = [one for one in self._terminals if one.talk.ledger.sent]
        await gather((self._judge(one) for one in written), 8)

    def _settled(self) -> bool:
        talking = any(one.talk.busy or one.talk.ledger.outstanding for one in self._terminals)
        return not talking and not any(app.waiting for app in self._apps)

    async def _judge(self, terminal: Terminal) -> None:
        talk = terminal.talk
        self._bench.verdict.add(talk.ledger.verdict())
        try:
            stored = await read_session(self._bench, terminal.account, talk.session)
        except Unusable as error:
            self._bench.recorder.error(str(error))
            return
        numbers = numbers_of(stored, talk.prefix)
        self._bench.verdict.add(judge_history(numbers, talk.confirmed))

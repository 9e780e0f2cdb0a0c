"""Whatever clients send: an answer of the contract, nothing in the log, nothing written, nobody disturbed.

Requests and events are generated from the declared shapes (``generating``). Hypothesis runs in a thread
of its own and asks the server, which runs in the reactor's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg2
from hypothesis import given, note, settings
from hypothesis import strategies as st
from msgspec import Raw
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import blockingCallFromThread, deferToThread

from happy.api.declare import Event, Route
from happy.capabilities import CAPABILITIES
from happy.client import Account, Answer
from happy.outbound.expo import Delivery, Expo
from tests.contract.checking import Contract
from tests.live import generating
from tests.live.case import LiveCase
from tests.nasty import ENDLESS

EXAMPLES = 5
ROUTES = [route for capability in CAPABILITIES for route in capability.routes]
EVENTS = [event for capability in CAPABILITIES for event in capability.events]
REFUSED = {"error", "version-mismatch"}

TABLES = """
SELECT "table_name" FROM "information_schema"."tables"
WHERE "table_schema" = 'public' AND "table_name" NOT IN ('happy_commits', 'happy_appended') ORDER BY 1
"""
"""Without the marks of commits and batches, which every transaction leaves."""


class PropertiesCase(LiveCase):
    """An account that sends anything at all, with a second device, and a bystander."""

    timeout = 120
    settings = {"debug_log": True, "address_limit": 0, "login_limit": 0}  # noqa: RUF012

    async def setUp(self) -> None:
        self.patch(Expo, "send", _everything_arrives)
        await super().setUp()
        self.account, self.bystander = await self.new_phone(), await self.new_phone()
        self.names = {
            "account": self.account.id,
            "stranger": "nobody-at-all",
            "foreign": await self.open_session(self.bystander),
        }
        self.quiet = await self.connect(self.bystander)
        self.device = await self.connect(self.account)
        self.rows = psycopg2.connect(self.dsn)
        self.rows.autocommit = True
        self.addCleanup(self.rows.close)
        tables = self.select(TABLES)
        self.fingerprints = " UNION ALL ".join(
            f"""SELECT '{name}', count(*), coalesce(max("xmin"::text::bigint), 0) FROM "{name}" """
            for (name,) in tables
        )

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows, read apart from the server."""
        with self.rows.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def content(self) -> list[tuple[Any, ...]]:
        """Something that is different after any row was written."""
        return self.select(self.fingerprints)

    async def open_session(self, account: Account) -> str:
        answer = await account.call("POST", "/v1/sessions", {"tag": "known", "metadata": "m"})
        return str(answer["session"]["id"])

    async def make_things(self) -> None:
        """See that there is one of everything that an id may name."""
        self.names["session"] = await self.open_session(self.account)
        self.names["machine"] = "machine-" + self.account.id
        machine = {"id": self.names["machine"], "metadata": "m"}
        await self.account.call("POST", "/v1/machines", machine)
        self.names["artifact"] = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
        artifact = dict.fromkeys(("header", "body", "dataEncryptionKey"), "YQ==")
        await self.account.call("POST", "/v1/artifacts", {"id": self.names["artifact"], **artifact})
        self.names["token"] = "ExponentPushToken[known]"
        await self.account.call("POST", "/v1/push-tokens", {"token": self.names["token"]})

    def fill(self, text: str) -> str:
        """Put the ids of the day into a text."""
        for name, value in self.names.items():
            text = text.replace("{" + name + "}", value)
        return text

    async def try_all(self, what: str, property: Callable[[], None]) -> None:
        """Run a property in a thread; then everybody else must be as they were."""
        try:
            await deferToThread(property)
            for socket in (self.quiet, self.device):
                assert await socket.call("ping") == {}
            assert self.quiet.untaken("update") == self.quiet.untaken("ephemeral") == []
            assert self.complaints == []
        except BaseException as failure:
            failure.add_note(f"while trying {what}")
            raise


async def _everything_arrives(expo: Expo, account: str, tokens: list[str], notice: object) -> list[Delivery]:
    return [Delivery(token) for token in tokens]


def here(work: Any) -> Any:
    """The outcome of a coroutine that runs in the reactor's thread."""
    return blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(work))


class EndpointTests(PropertiesCase):
    """Every endpoint."""

    async def test_endpoints(self) -> None:
        """Every answer is one that the contract names, and one that refuses has changed nothing."""
        documents = [await self.server.call("GET", f"/.well-known/happy/{n}.json") for n in NAMES]
        self.contract = Contract(*documents)
        for route in ROUTES:
            await self.make_things()
            await self.try_all(f"{route.method} {route.path}", self.property(route))

    def property(self, route: Route) -> Callable[[], None]:
        request = st.tuples(generating.targets(route), generating.bodies(route))

        @settings(max_examples=EXAMPLES)
        @given(st.lists(request, min_size=1, max_size=4))
        def holds(requests: list[tuple[str, bytes]]) -> None:
            before = self.content()
            answers = [self.ask(route, target, body) for target, body in requests]
            for answer in answers:
                note(f"{answer.status} {answer.text[:200]}")
                self.judge(route, answer)
            if all(answer.status >= 400 for answer in answers):
                assert self.content() == before

        return holds

    def ask(self, route: Route, target: str, body: bytes) -> Answer:
        """The answer to a request; there is always one."""
        target, content = self.fill(target), self.fill(body.decode("latin-1")).encode("latin-1")
        headers = {"content-type": "application/json"} if content else {}
        answer = here(self.account.request(route.method, target, content=content, headers=headers))
        if answer.status == 500:
            named = [refusal.error for refusal in route.refuses if refusal.status == 500]
            assert unstorable(target, content) or answer.json()["error"] in named, answer.text
        return answer

    def judge(self, route: Route, answer: Answer) -> None:
        path = route.path
        if answer.headers.getRawHeaders("content-type", [""])[0].startswith("application/json"):
            self.contract.check_answer(route.method, _template(path), answer.status, answer.json())


NAMES = ("openapi", "asyncapi")


def _template(path: str) -> str:
    return "/".join("{" + part[1:] + "}" if part.startswith(":") else part for part in path.split("/"))


def unstorable(target: str, content: bytes) -> bool:
    """Whether a request holds what PostgreSQL cannot store, which the contract answers as a failure."""
    return "%00" in target or b"\\u0000" in content or ENDLESS.encode() in content


class EventTests(PropertiesCase):
    """Every event."""

    async def test_events(self) -> None:
        """Every event that has an answer is answered, and one that refuses has changed nothing."""
        await self.device.register("known", lambda params: params)
        for event in sorted(EVENTS, key=lambda event: event.name.endswith("-alive")):
            await self.make_things()
            self.socket = await self.connect(self.account)
            await self.try_all(event.name, self.property(event))
            assert self.socket.connected

    def property(self, event: Event) -> Callable[[], None]:
        shape = event.parameters.get("body")

        @settings(max_examples=EXAMPLES * 3)
        @given(st.lists(generating.arguments(shape), min_size=1, max_size=4))
        def holds(calls: list[list[Any]]) -> None:
            before = self.content()
            answers = here(self.say(event, calls))
            for answer in answers:
                note(json.dumps(answer))
            if answers and all(map(refusal, answers)):
                assert self.content() == before

        return holds

    async def say(self, event: Event, calls: list[list[Any]]) -> list[Any]:
        """Send the event with each list of arguments; the acknowledgements, if it has any."""
        sent = [self.arguments(event, arguments) for arguments in calls]
        if event.acks:
            waiting = [self.socket.call(event.name, *arguments, timeout=10) for arguments in sent]
            return list(await gatherResults([Deferred.fromCoroutine(call) for call in waiting]))
        for arguments in sent:
            self.socket.emit(event.name, *arguments)
        await self.socket.call("ping", timeout=10)
        return []

    def arguments(self, event: Event, arguments: list[Any]) -> list[Raw]:
        """JSON of the arguments; a call goes to the one method that there is, as others are waited for."""
        first = arguments[0] if arguments else None
        if event.name == "rpc-call" and isinstance(first, dict) and isinstance(first.get("method"), str):
            arguments = [first | {"method": first["method"] and "known"}, *arguments[1:]]
        filled = [self.fill(generating.as_json(argument).decode()) for argument in arguments]
        return [Raw(argument.encode()) for argument in filled]


def refusal(answer: Any) -> bool:
    """Whether an acknowledgement says no."""
    result = answer.get("result")
    said_no = isinstance(result, str) and result in REFUSED
    return said_no or False in (answer.get("ok"), answer.get("success"))

"""What one client, or all of an account together, can take: then it is refused, and nobody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.logger import globalLogPublisher
from wsproto.events import BytesMessage, TextMessage

from happy.base.bounds import Budget
from happy.base.pace import TURN_SECONDS
from happy.realtime import hub, recovery
from happy.realtime.application import HANDLER_BYTES
from happy.realtime.calls import METHOD_BYTES
from happy.realtime.handshake import LONGEST, LONGEST_TOKEN
from happy.realtime.pending import TARGET_GONE
from happy.settings.config import Config
from happy.socketio.connection import ATTACHMENT_SECONDS, MAX_REFUSALS
from happy.socketio.endpoint import EngineEndpoint
from happy.socketio.shared import EndpointSettings
from happy.socketio.standalone import EndpointSite
from happy.wire.engineio import encode_message
from tests.realtime.happy_world import TOKEN, HappyWorld
from tests.socketio.peers import Peer, PollingPeer, TurningClock, WebSocketPeer, call_id
from tests.socketio.programs import PATH, World

BOB = "a.token.of-bob"


class TestJoining:
    """Before anybody is known, and who somebody is."""

    def test_refusals_end(self) -> None:
        """A client may try again after a refusal, but not for ever; what comes behind is not looked at."""
        world = World()
        client = world.websocket(joined=False)
        client.text(*["40/nowhere"] * (MAX_REFUSALS - 1))
        assert len(client.texts()) == MAX_REFUSALS - 1
        client.text("40/nowhere", "40/nowhere", "40")
        assert len(client.messages()) == 1
        assert client.closed or client.closing() == 1005
        assert ("joined", "/") not in world.program.heard

    def test_refusals_on_polling(self) -> None:
        """One body cannot ask more often either."""
        world = World()
        client = world.polling(joined=False)
        assert client.post(b"\x1e".join([b"40/nowhere"] * 500)).body == b"ok"
        world.clock.advance(0)
        assert len(client.poll().packets) == MAX_REFUSALS + 1

    @pytest.mark.parametrize(
        ("auth", "error"),
        [
            ({"token": "t" * (LONGEST_TOKEN + 1)}, "Invalid authentication token"),
            (
                {"token": TOKEN, "clientType": "session-scoped", "sessionId": "s" * (LONGEST + 1)},
                "Session ID required for session-scoped clients",
            ),
            (
                {"token": TOKEN, "clientType": "machine-scoped", "machineId": "m" * (LONGEST + 1)},
                "Machine ID required for machine-scoped clients",
            ),
        ],
    )
    def test_long_members(self, auth: dict[str, Any], error: str) -> None:
        """What is too long to be an id is none."""
        assert HappyWorld().asking(auth).texts() == [f'44{{"message":"{error}"}}']

    def test_too_many_of_an_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An account has a bounded number of clients; one more is closed without an answer."""
        monkeypatch.setattr(hub, "MAX_CLIENTS", 2)
        world = HappyWorld()
        first, second = world.client(), world.client(clientType="machine-scoped", machineId="m")
        third = world.asking({"token": TOKEN})
        assert third.closing() == 1005
        world.client(token=BOB)
        world.lose(second)
        assert world.client()
        first.text('421["ping"]')
        assert first.texts()[-1] == "431[{}]"

    def test_quota_of_sockets(self) -> None:
        """One more client than the operator lets an account have is told so; others are not concerned."""
        world = HappyWorld()
        world.server.config = Config(account_sockets=1)
        first = world.client()
        second = world.asking({"token": TOKEN, "clientType": "machine-scoped", "machineId": "m"})
        assert second.texts()[-1] == '44{"message":"Too many connections of this account"}'
        assert world.client(token=BOB)
        world.lose(first)
        assert world.client()

    def test_quota_and_a_dead_connection(self) -> None:
        """Who comes back is not refused for the sake of its own former connection, which goes."""
        world = HappyWorld()
        world.server.config = Config(account_sockets=3)
        first, second = world.client(), world.client()
        machine = world.client(clientType="machine-scoped", machineId="m")
        world.client()
        world.clock.advance(0)
        assert first.closing() == 1005
        world.client(clientType="machine-scoped", machineId="m")
        world.clock.advance(0)
        assert machine.closing() == 1005
        second.text('421["ping"]')
        assert second.texts()[-1] == "431[{}]"
        assert len(world.server.hub.everybody("ann")) == 3

    def test_too_much_of_an_account(self) -> None:
        """A client of an account that keeps as much as it may is closed without an answer as well."""
        memory = Budget(200_000)
        world = HappyWorld(memory=memory)
        hog = memory.open("account:ann", Holder())
        assert hog.take(100_000)
        client = world.polling(joined=False)
        client.post(b"40" + json.dumps({"token": TOKEN}).encode())
        assert client.poll().packets == [b"6", b"1"]
        world.client(token=BOB)

    def test_address_pays_until_the_login(self) -> None:
        """What is kept for a client counts as its address's, then as its account's."""
        memory = Budget(1_000_000)
        world = HappyWorld(memory=memory)
        client = world.websocket(joined=False)
        assert memory.used_by("somebody") == world.settings.session_bytes
        client.text("40" + json.dumps({"token": TOKEN}))
        assert memory.used == 0
        client.send(b"\x81\xfe\x40\x00" + bytes(4) + b"x" * 5000)
        assert (memory.used_by("somebody"), memory.used_by("account:ann")) == (0, 5008)


class TestPlaces:
    """Clients that have not joined, or send more than anybody."""

    def test_too_many_strangers(self) -> None:
        """One address has a bounded number of clients that did not join; WebSockets that did do not count."""
        world = World(memory=Budget(400), session_bytes=100)
        target = f"{PATH}?EIO=4&transport=polling"
        first = world.polling(joined=False)
        websocket = world.websocket(joined=False)
        assert world.peer().ask("GET", target).status == 503
        refused = WebSocketPeer(world.site, world.clock, target.replace("=polling", "=websocket"))
        assert refused.rejection() == (503, b"Service Unavailable")
        websocket.text("40")
        assert world.peer().ask("GET", target).status == 200
        assert world.peer().ask("GET", target).status == 503
        first.post(b"1")
        world.clock.advance(world.settings.linger)
        assert world.peer().ask("GET", target).status == 200
        websocket.text('42["x"]')
        assert world.last == ("event", "x", [])

    def test_crowd_of_one(self) -> None:
        """When there is no room for one more client, who has most of them loses its oldest."""
        dropped: list[str] = []
        world = World(memory=Budget(400, share=400), session_bytes=100, dropped=dropped.append)
        clients = []
        for world.origin in ("crowd", "crowd", "ann", "crowd", "bob"):
            clients.append(world.polling(joined=False))
        world.clock.advance(0)
        assert dropped == ["crowd"]
        assert sorted(client.post(b"3").status for client in clients) == [200, 200, 200, 200, 400]
        assert [client.post(b"3").status for client in (clients[2], clients[4])] == [200, 200]

    def test_too_many_packets(self) -> None:
        """A body with more packets than anybody has to send is not read; its session goes on."""
        world = World(max_packets=3)
        client = world.polling()
        assert client.post(b'42["x"]\x1e42["y"]\x1e42["z"]').status == 200
        assert client.post(b'42["a"]\x1e42["b"]\x1e42["c"]\x1e42["d"]').status == 413
        assert [name for what, name, *_ in world.program.heard if what == "event"] == ["x", "y", "z"]
        assert client.post(b'42["e"]').status == 200


class Holder:
    """Holds something."""

    def give_up(self) -> None:
        """Never asked to."""


class TestAttachments:
    """Binary events that do not come to an end."""

    def test_counted(self) -> None:
        """What is there of one counts, until it is complete."""
        memory = Budget(10_000)
        world = World(memory=memory, session_bytes=0)
        client = world.websocket()
        client.send_event(TextMessage('452-["x"]'), BytesMessage(b"a" * 1000))
        assert memory.used == 1009 - len("4")
        client.send_event(BytesMessage(b"b"))
        assert world.last == ("event", "x", [])
        assert memory.used == 0
        client.send_event(TextMessage('452-["x"]'), BytesMessage(b"a" * 5000))
        world.clock.advance(0)
        assert client.transport.aborted
        assert memory.used == 0

    def test_in_time(self) -> None:
        """Attachments that do not come in time end the connection; those that do, do not."""
        world = World()
        client = world.websocket()
        client.send_event(TextMessage('451-["x"]'))
        world.clock.advance(ATTACHMENT_SECONDS - 1)
        client.send_event(BytesMessage(b"a"))
        client.text("3")
        world.clock.advance(2)
        client.send_event(TextMessage('452-["x"]'), BytesMessage(b"a"))
        for _ in range(3):
            world.clock.advance(ATTACHMENT_SECONDS / 3)
            client.text("3") if world.program.socket.connected else None
        assert world.last == ("disconnected", "/", "forced close")


class TestCalls:
    """Methods, and calls to them."""

    def test_names(self) -> None:
        """A method's name is bounded, for whoever offers, withdraws or calls it."""
        client = HappyWorld().client()
        name = "m" * 1025
        client.text(
            f'42["rpc-register",{{"method":"{name}"}}]',
            f'42["rpc-unregister",{{"method":"{name}"}}]',
            f'421["rpc-call",{{"method":"{name}"}}]',
            f'42["rpc-register",{{"method":"{name[1:]}"}}]',
        )
        kinds = [json.loads(text.lstrip("0123456789"))[0] for text in client.texts()]
        wrong = {"ok": False, "error": "Invalid parameters: method is required"}
        assert kinds == ["rpc-error", "rpc-error", wrong, "rpc-registered"]

    def test_methods_count(self) -> None:
        """What a client offers counts, until it withdraws it or is gone."""
        memory = Budget(2 * (HANDLER_BYTES + 3 * METHOD_BYTES))
        world = HappyWorld(memory=memory, session_bytes=0)
        client = world.client()
        client.text(*[f'42["rpc-register",{{"method":"{name}"}}]' for name in "abc"])
        assert [text[4:16] for text in client.texts()] == ["rpc-register"] * 2 + ['rpc-error",{']
        client.text('42["rpc-unregister",{"method":"a"}]')
        assert memory.used == METHOD_BYTES + 1
        world.lose(client)
        assert memory.used == 0

    def test_caller_gone(self) -> None:
        """A call whose caller is gone is given up: nothing of it is kept, and its answer is nobody's."""
        memory = Budget(10_000_000)
        world = HappyWorld(memory=memory)
        caller, target = world.client(), world.client()
        target.text('42["rpc-register",{"method":"m"}]')
        used = memory.used
        caller.text('421["rpc-call",{"method":"m"}]', '422["rpc-call",{"method":"nobody\'s"}]')
        number = call_id(target.texts()[-1], "rpc-request")
        assert memory.used > used
        world.lose(caller)
        assert memory.used == used
        target.text(f'43{number}["late"]', '421["ping"]')
        assert target.texts() == ["431[{}]"]
        calls = world.metrics.rpc_calls_total
        for method in ("m", "other"):
            assert calls.labels(method, "caller_disconnected")._value.get() == 1

    def test_target_gone(self) -> None:
        """However many calls end with their target, others have their turn in between."""

        class TurningWorld(HappyWorld):
            clock_kind = TurningClock

        world = TurningWorld(memory=Budget(100_000_000))
        caller, target = world.client(), world.client()
        target.text('42["rpc-register",{"method":"m"}]')
        caller.text(*['421["rpc-call",{"method":"m"}]'] * 50)
        caller.texts()
        send = caller.transport.write

        def slowly(data: bytes) -> None:
            world.clock.rightNow += TURN_SECONDS / 10
            send(data)

        caller.transport.write = slowly  # type: ignore[method-assign]
        world.endpoint._shared.pace.begin()
        target.drop()
        answers = caller.texts()
        assert 0 < len(answers) < 20
        while world.clock.calls and len(answers) < 50:
            world.clock.advance(0)
            answers += caller.texts()
        assert answers == [f'431[{{"ok":false,"error":"{TARGET_GONE}"}}]'] * 50


class TestThoseWhoMayComeBack:
    """What is remembered of lost clients."""

    def test_shares(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of an account a bounded number of clients is remembered; those of others still are."""
        monkeypatch.setattr(recovery, "LOST_BYTES", 5 * recovery.LOST_COST)
        world = HappyWorld(recovery=True)
        staying = world.client(clientType="machine-scoped", machineId="m")

        def lose(token: str) -> dict[str, str]:
            client = world.asking({"token": token})
            presented = json.loads(client.texts()[0][2:])
            world.happy._announce(token.removeprefix("a.token.of-"), "m", active=True)
            offset = json.loads(client.texts()[-1][2:])[-1]
            world.lose(client)
            return {"token": token, "pid": presented["pid"], "offset": offset}

        lost = [lose(TOKEN) for _ in range(3)] + [lose(BOB)]
        back = []
        for presented in lost:
            (reply, *_) = [text for text in world.asking(presented).texts() if text.startswith("40")]
            back.append(json.loads(reply[2:])["pid"] == presented["pid"])
        assert back == [True, True, False, True]
        assert staying.transport.connected


class Faulty:
    """A program that fails where nothing should."""

    def __init__(self, connection: Any, handshake: Any) -> None:
        self._connection = connection

    def message(self, data: bytes, binary: bool) -> None:
        """Fail, or answer."""
        if data == b"bad":
            raise RuntimeError("secret")
        self._connection.send(encode_message(data))

    def ended(self, reason: str) -> None:
        """Nothing is kept."""


class TestFaults:
    """Faults of ours that a client finds."""

    def endpoint(self) -> tuple[Any, Any, list[str]]:
        failed: list[str] = []
        clock = TurningClock()
        settings = EndpointSettings(path=PATH, failed=lambda: failed.append("failed"))
        return EndpointSite(EngineEndpoint(Faulty, settings, clock), clock), clock, failed

    @pytest.mark.parametrize("how", ["text", "binary"])
    def test_on_websocket(self, how: str) -> None:
        """The connection is cut, the fault counted and told in a line without its text; others go on."""
        site, clock, failed = self.endpoint()
        target = f"{PATH}?EIO=4&transport=websocket"
        client, other = (WebSocketPeer(site, clock, target) for _ in range(2))
        told: list[Any] = []
        globalLogPublisher.addObserver(told.append)
        try:
            client.send_event(TextMessage("4bad") if how == "text" else BytesMessage(b"bad"))
        finally:
            globalLogPublisher.removeObserver(told.append)
        assert client.transport.aborted
        assert failed == ["failed"]
        (event,) = told
        assert "secret" not in str(event)
        assert event.get("log_failure") is None
        other.text("4good")
        assert other.texts()[-1] == "4good"

    def test_on_polling(self) -> None:
        """The POST is answered, the session is over, and so is the poll that it has open."""
        site, clock, failed = self.endpoint()
        client = PollingPeer(site, clock, PATH)
        poll = client.start_poll()
        assert client.post(b"4bad\x1e4good").body == b"ok"
        response = poll.response()
        assert response is not None
        assert response.packets == [b"1"]
        assert failed == ["failed"]
        assert Peer(site, clock).ask("GET", client.target).status == 400


class TestPolling:
    """What waits for polls."""

    def test_counted_once(self) -> None:
        """Every packet counts until it is taken, and as often as it is there."""
        memory = Budget(100_000)
        world = World(memory=memory, session_bytes=0)
        client = world.polling()
        world.program.socket.emit("x", "y" * 1000)
        one = memory.used
        assert one > 1000
        world.program.socket.emit("x", "y" * 1000)
        assert memory.used == 2 * one
        client.poll()
        assert memory.used == 0

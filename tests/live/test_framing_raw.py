"""The echo programs, talked to by a raw client: what the public protocol suites look for (realtime.md A.15).

The suites themselves are run by hand (``tests/echo_server.py`` says how); this covers the same ground.
"""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import websocket
from websocket import ABNF, WebSocket

ROOT = Path(__file__).parents[2]
PATIENCE = 20
HEARTBEATS = 2
SUITES = {"engineio": "/engine.io/", "socketio": "/socket.io/"}
# The suites' own intervals are too short for a machine that is busy with other tests.
INTERVALS = ("--ping-interval=0.3", "--ping-timeout=1", "--connect-timeout=2")
FACTS = {"pingInterval": 300, "pingTimeout": 1000, "maxPayload": 1_000_000}


class Echo:
    """A running echo program."""

    def __init__(self, suite: str) -> None:
        self.path = SUITES[suite]
        command = [sys.executable, "-m", "tests.echo_server", "--port", "0", "--suite", suite, *INTERVALS]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline().split()[-1])
        self._threads = ThreadPoolExecutor(8)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.communicate()
        self._threads.shutdown()

    def ask(self, method: str, query: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            connection.request(method, f"{self.path}?{query}", body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def start(self, method: str, query: str, body: bytes | None = None) -> Future[tuple[int, bytes]]:
        """The same, without waiting for the answer."""
        return self._threads.submit(self.ask, method, query, body)

    def polling(self) -> str:
        """The query of a new polling session."""
        status, body = self.ask("GET", "EIO=4&transport=polling")
        assert status == 200
        return f"EIO=4&transport=polling&sid={json.loads(body[1:])['sid']}"

    @contextmanager
    def websocket(self, query: str = "EIO=4&transport=websocket") -> Iterator[WebSocket]:
        """A WebSocket."""
        client = websocket.create_connection(
            f"ws://127.0.0.1:{self._port}{self.path}?{query}", timeout=PATIENCE
        )
        try:
            yield client
        finally:
            client.shutdown()

    @contextmanager
    def opened(self, query: str = "EIO=4&transport=websocket") -> Iterator[WebSocket]:
        """A WebSocket that has had its open packet."""
        with self.websocket(query) as client:
            assert client.recv().startswith("0{")
            yield client

    @contextmanager
    def joined(self, namespace: str = "") -> Iterator[WebSocket]:
        """A Socket.IO client in a namespace, greeted."""
        with self.opened() as client:
            client.send(f"40{namespace}")
            assert take(client).startswith(f"40{namespace}{{")
            assert take(client) == f'42{namespace}["auth",{{}}]'
            yield client


def take(client: WebSocket) -> str | bytes:
    """The next message that is no heartbeat; heartbeats are answered."""
    while (message := client.recv()) == "2":
        client.send("3")
    return message


def close_frame(client: WebSocket) -> bytes:
    """The body of the close frame that comes next, pings and all else aside."""
    while True:
        code, data = client.recv_data()
        if code == ABNF.OPCODE_CLOSE:
            return bytes(data)


@pytest.fixture(scope="module")
def programs() -> Iterator[dict[str, Echo]]:
    """Both programs, by suite."""
    running = {suite: Echo(suite) for suite in SUITES}
    yield running
    for echo in running.values():
        echo.stop()


@pytest.fixture(params=SUITES)
def either(request: pytest.FixtureRequest, programs: dict[str, Echo]) -> Echo:
    """Each of the programs."""
    return programs[request.param]


@pytest.fixture
def engine(programs: dict[str, Echo]) -> Echo:
    """The Engine.IO program."""
    return programs["engineio"]


@pytest.fixture
def sockets(programs: dict[str, Echo]) -> Echo:
    """The Socket.IO program."""
    return programs["socketio"]


class TestHandshake:
    def test_polling(self, either: Echo) -> None:
        """The answer is an open packet with exactly its members."""
        status, body = either.ask("GET", "EIO=4&transport=polling")
        facts = json.loads(body[1:])
        assert (status, body[:1], len(facts.pop("sid"))) == (200, b"0", 20)
        assert facts == {"upgrades": ["websocket"], **FACTS}

    def test_websocket(self, either: Echo) -> None:
        """On WebSocket there is nothing to upgrade to."""
        with either.websocket() as client:
            facts = json.loads(client.recv()[1:])
        assert facts == {"sid": facts["sid"], "upgrades": [], **FACTS}

    @pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
    @pytest.mark.parametrize(
        "query", ["transport=polling", "EIO=abc&transport=polling", "EIO=4", "EIO=4&transport=abc"]
    )
    def test_refused(self, either: Echo, method: str, query: str) -> None:
        """Bad parameters are refused, whatever the method."""
        assert either.ask(method, query)[0] == 400

    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_method(self, either: Echo, method: str) -> None:
        """So are good ones with a bad method."""
        assert either.ask(method, "EIO=4&transport=polling")[0] == 400

    @pytest.mark.parametrize(
        "query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"]
    )
    def test_refused_upgrade(self, either: Echo, query: str) -> None:
        """A WebSocket with bad parameters is refused before it opens."""
        with pytest.raises(websocket.WebSocketBadStatusException) as refusal, either.websocket(query):
            pass
        assert refusal.value.status_code == 400


class TestHeartbeat:
    def test_polling(self, either: Echo) -> None:
        """Pings come by poll, pongs go by post."""
        query = either.polling()
        for _ in range(HEARTBEATS):
            assert either.ask("GET", query) == (200, b"2")
            assert either.ask("POST", query, b"3") == (200, b"ok")

    def test_polling_without_pong(self, engine: Echo) -> None:
        """A client that does not answer hears a close packet, and its session is gone."""
        query = engine.polling()
        assert engine.ask("GET", query) == (200, b"2")
        assert engine.ask("GET", query) == (200, b"1")
        assert engine.ask("GET", query)[0] == 400

    def test_websocket(self, either: Echo) -> None:
        """On WebSocket both go the same way."""
        with either.opened() as client:
            for _ in range(HEARTBEATS):
                assert client.recv() == "2"
                client.send("3")

    def test_websocket_without_pong(self, engine: Echo) -> None:
        """A client that does not answer is closed, without a code."""
        with engine.opened() as client:
            assert close_frame(client) == b""


class TestClosing:
    def test_polling(self, either: Echo) -> None:
        """A poll and a close packet may cross: the poll is answered with a noop either way."""
        query = either.polling()
        poll = either.start("GET", query)
        assert either.ask("POST", query, b"1") == (200, b"ok")
        assert poll.result(PATIENCE) == (200, b"6")
        assert either.ask("GET", query)[0] == 400

    def test_websocket(self, either: Echo) -> None:
        """A close packet closes."""
        with either.opened() as client:
            client.send("1")
            assert close_frame(client) == b""


class TestUpgrade:
    def test_upgrade(self, either: Echo) -> None:
        """After probe and commit the WebSocket carries the session."""
        query = either.polling()
        with either.websocket(query.replace("polling", "websocket")) as client:
            client.send("2probe")
            assert client.recv() == "3probe"
            assert either.ask("GET", query) == (200, b"6")
            client.send("5")
            assert client.recv() == "2"

    def test_polling_is_over(self, either: Echo) -> None:
        """Then polling is refused, and another WebSocket is closed; the first lives on."""
        query = either.polling()
        upgrade = query.replace("polling", "websocket")
        with either.websocket(upgrade) as client:
            client.send("2probe")
            client.send("5")
            assert client.recv() == "3probe"
            assert client.recv() == "2"
            client.send("3")
            assert either.ask("GET", query)[0] == 400
            with either.websocket(upgrade) as second:
                assert close_frame(second) == b""
            assert client.recv() == "2"


class TestEngineMessages:
    def test_polling(self, engine: Echo) -> None:
        """What is posted comes back with a poll, text and binary alike."""
        query = engine.polling()
        assert engine.ask("POST", query, b"4hello") == (200, b"ok")
        assert engine.ask("GET", query) == (200, b"4hello")
        several = b"\x1e".join([b"4one", "4€é".encode(), b"b" + base64.b64encode(b"\1\2\3\4")])
        assert engine.ask("POST", query, several) == (200, b"ok")
        assert engine.ask("GET", query) == (200, several)

    def test_bad_packet(self, engine: Echo) -> None:
        """A body that holds no packet ends the session."""
        query = engine.polling()
        engine.ask("POST", query, b"abc")
        assert engine.ask("GET", query)[0] == 400

    def test_overlapping_polls(self, engine: Echo) -> None:
        """Of two polls at once one hears a close packet, the other is refused, and the session is over."""
        query = engine.polling()
        polls = [engine.start("GET", query) for _ in range(2)]
        assert sorted(poll.result(PATIENCE) for poll in polls) == [(200, b"1"), (400, b"")]
        assert engine.ask("GET", query)[0] == 400

    def test_websocket(self, engine: Echo) -> None:
        """Messages come back as they are."""
        with engine.opened() as client:
            client.send("4hello €")
            assert take(client) == "4hello €"
            client.send_binary(b"\1\2\3\4")
            assert take(client) == b"\1\2\3\4"

    def test_bad_frame(self, engine: Echo) -> None:
        """What is no packet closes."""
        with engine.opened() as client:
            client.send("abc")
            assert close_frame(client) == b""


class TestSockets:
    @pytest.mark.parametrize("auth", ["", '{"token":"123"}'])
    @pytest.mark.parametrize("namespace", ["", "/custom,"])
    def test_joining(self, sockets: Echo, namespace: str, auth: str) -> None:
        """The reply holds the sid alone; what was presented comes back."""
        with sockets.opened() as client:
            client.send(f"40{namespace}{auth}")
            reply = take(client)
            assert reply.startswith(f"40{namespace}{{")
            assert list(json.loads(reply.removeprefix(f"40{namespace}"))) == ["sid"]
            assert take(client) == f'42{namespace}["auth",{auth or "{}"}]'

    def test_unknown_namespace(self, sockets: Echo) -> None:
        """Others do not exist."""
        with sockets.opened() as client:
            client.send("40/random")
            assert take(client) == '44/random,{"message":"Invalid namespace"}'

    def test_no_socketio(self, sockets: Echo) -> None:
        """Something else than CONNECT closes, and so does silence."""
        with sockets.opened() as client:
            client.send("4abc")
            assert close_frame(client) == b""

    def test_silence(self, sockets: Echo) -> None:
        """A client that answers pings but joins nothing is closed."""
        with sockets.opened() as client:
            heard = []
            while (data := client.recv_data())[0] != ABNF.OPCODE_CLOSE:
                heard.append(data)
                client.send("3")
            assert heard

    def test_leaving(self, sockets: Echo) -> None:
        """Leaving one namespace is not answered, and changes nothing in the other."""
        with sockets.joined() as client:
            client.send("40/custom,")
            take(client)
            take(client)
            client.send("41/custom")
            client.send('42["message","still"]')
            assert take(client) == '42["message-back","still"]'
            client.send("41")
            assert client.recv() == "2"

    @pytest.mark.parametrize(
        ("sent", "back"),
        [
            (
                ['42["message",1,"2",{"3":[true]}]'],
                ['42["message-back",1,"2",{"3":[true]}]'],
            ),
            (
                ['42456["message-with-ack",1,"2",{"3":[false]}]'],
                ['43456[1,"2",{"3":[false]}]'],
            ),
            (
                ['452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\1", b"\2"],
                [
                    '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
                    b"\1",
                    b"\2",
                ],
            ),
            (
                ['451-789["message-with-ack",{"_placeholder":true,"num":0}]', b"\1"],
                ['461-789[{"_placeholder":true,"num":0}]', b"\1"],
            ),
        ],
    )
    def test_messages(self, sockets: Echo, sent: list[str | bytes], back: list[str | bytes]) -> None:
        """Events come back and are acknowledged, with whatever they carry."""
        with sockets.joined() as client:
            for message in sent:
                client.send(message, ABNF.OPCODE_TEXT if isinstance(message, str) else ABNF.OPCODE_BINARY)
            assert [take(client) for _ in back] == back

    @pytest.mark.parametrize("text", ["4abc", "42{}", '42abc["message"]'])
    def test_violations(self, sockets: Echo, text: str) -> None:
        """Malformed packets close."""
        with sockets.joined() as client:
            client.send(text)
            assert close_frame(client) == b""

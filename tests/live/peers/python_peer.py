"""python-socketio against our server: the same conversation as ``node_peer.mjs``.

Usage: python python_peer.py <url> <comma-separated transports>
"""

from __future__ import annotations

import json
import queue
import sys
from typing import Any

import engineio.payload
import socketio

PATIENCE = 20
# The client takes 16 packets in one poll by default; servers send whatever is queued.
engineio.payload.Payload.max_decode_packets = 1000


def report(name: str, value: Any) -> None:
    """One line for the test to read."""
    sys.stdout.write(json.dumps([name, value]) + "\n")
    sys.stdout.flush()


class Heard:
    """What came, by event name, for whoever waits."""

    def __init__(self, client: socketio.Client) -> None:
        self._queues: dict[str, queue.Queue[list[Any]]] = {}
        for name in ("welcome", "echo", "answered", "number", "connect", "disconnect"):
            self._queues[name] = queue.Queue()
            client.on(name, self._collector(name))

    def _collector(self, name: str) -> Any:
        return lambda *values: self._queues[name].put(list(values))

    def next(self, name: str) -> list[Any]:
        """The next event of this name."""
        return self._queues[name].get(timeout=PATIENCE)


def ask(client: socketio.Client, *arguments: Any) -> list[Any]:
    """Emit ``ask`` and wait for its acknowledgement, whatever it holds."""
    answer: queue.Queue[list[Any]] = queue.Queue()
    client.emit("ask", arguments, callback=lambda *values: answer.put(list(values)))
    return answer.get(timeout=PATIENCE)


def bytes_as_hex(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def start(url: str, transports: list[str]) -> tuple[socketio.Client, Heard]:
    """A client in the main namespace."""
    client = socketio.Client(reconnection_delay=0.02, reconnection_delay_max=0.05, ssl_verify=False)
    heard = Heard(client)
    client.on("question", lambda what: {"answered": what})
    client.connect(
        f"{url}?colour=blue", auth={"token": "é😀"}, transports=transports, socketio_path="/v1/updates"
    )
    heard.next("connect")
    return client, heard


def converse(url: str, transports: list[str]) -> None:
    """The whole conversation."""
    client, heard = start(url, transports)
    report("welcome", heard.next("welcome"))
    report("transport", client.transport())

    text = ["text", 1, 2.5, 0, True, None, {"ключ": ["😀", {"deep": []}]}, "\ud800", "\u2028\u001e"]
    client.emit("say", tuple(text))
    report("echo", heard.next("echo"))
    report("ack", ask(client, {"n": 1}, "x"))
    client.emit("say", {"file": b"\x00\xff", "list": [b"\x01"]})
    [binary] = heard.next("echo")
    report("binary", [bytes_as_hex(binary["file"]), bytes_as_hex(binary["list"][0])])
    report("binary ack", [bytes_as_hex(part) for part in ask(client, b"\xab\xcd", "beside")])
    large = "x" * 600_000
    report("large", ask(client, large) == [large])
    client.emit("call me", "why")
    report("called", heard.next("answered"))
    client.emit("count", 200)
    # This client handles events in threads, so that their order is lost here.
    report("order", sorted(heard.next("number")[0] for _ in range(200)) == list(range(200)))

    before = client.sid
    client.emit("drop me")
    heard.next("disconnect")
    if transports == ["polling"]:
        # This client takes a close packet as the end, and does not come back by itself.
        client, heard = start(url, transports)
    else:
        heard.next("connect")
    report("reconnected", client.sid != before and ask(client, "still there?")[0])
    client.disconnect()
    other_conversations(url, transports)
    report("done", True)


def other_conversations(url: str, transports: list[str]) -> None:
    """Namespaces, known and unknown, and a refusal."""
    options = {"transports": transports, "socketio_path": "/v1/updates", "wait_timeout": PATIENCE}
    client = socketio.Client(ssl_verify=False)
    client.connect(url, namespaces=["/", "/custom"], **options)
    report("custom", client.get_sid("/custom") != client.get_sid())
    client.disconnect()
    for name, namespace, auth in (
        ("unknown namespace", "/nowhere", None),
        ("refused", "/", {"refuse": "Go away"}),
    ):
        client = socketio.Client(reconnection=False, ssl_verify=False)
        told: queue.Queue[Any] = queue.Queue()
        client.on("connect_error", told.put, namespace=namespace)
        try:
            client.connect(url, namespaces=[namespace], auth=auth, **options)
        except socketio.exceptions.ConnectionError:
            report(name, told.get(timeout=PATIENCE)["message"])
        client.disconnect()


if __name__ == "__main__":
    converse(sys.argv[1], sys.argv[2].split(","))

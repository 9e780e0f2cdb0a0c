"""The program of ``docs/socketio.md`` runs as it stands."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = "/socket.io/?EIO=4&transport=polling"


def free_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


def test_example() -> None:
    """A client that joins hears its own events."""
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/socketio.md").read_text(), re.DOTALL)
    port = free_port()
    # The line goes out only after the port is open.
    program = program.replace("3000", str(port)).replace(
        "reactor.run()", "print('open', flush=True)\nreactor.run()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "open\n"
            assert converse(port)[1] == '42["say",{"to":[1]}]'
        finally:
            running.terminate()


def converse(port: int) -> list[str]:
    """What a client on polling hears."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:

        def ask(method: str, target: str, body: str | None = None) -> str:
            connection.request(method, target, body)
            return connection.getresponse().read().decode()

        target = f"{PATH}&sid={json.loads(ask('GET', PATH)[1:])['sid']}"
        ask("POST", target, "40")
        first = ask("GET", target)
        ask("POST", target, '42["say",{"to":[1]}]')
        return [first, ask("GET", target)]

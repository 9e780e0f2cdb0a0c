"""What it takes that an account deletes its largest session, and what is noticed of it meanwhile."""

from __future__ import annotations

import base64
import time
from dataclasses import replace

import msgspec

from tests.harness import psql
from tests.operated import Operated, say
from tests.scale.commands import QUIET_SECONDS, connect, load, log_in, posting, report
from tests.scale.filling import LARGEST, Size, analyse
from tests.scale.lists import fill

_LEFT = """
SELECT EXISTS (SELECT 1 FROM "SessionMessage" WHERE "sessionId" = %s)
"""


def measure(server: Operated, size: Size, scale: float) -> None:
    """Fill a database, and print times of messages before and while the session goes, under load."""
    server.start()
    token = log_in(server)
    account = msgspec.json.decode(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["sub"]
    begun = time.perf_counter()
    fill(server.dsn, replace(size, account=account, content=1024, sealed=True))
    analyse(server.dsn)
    say(f"filling with {size.messages:,} messages: {time.perf_counter() - begun:.0f} s")
    with load(server, scale), posting(server) as others, posting(server, token) as own:
        time.sleep(QUIET_SECONDS)
        begun = time.perf_counter()
        connection = connect(server)
        connection.request("DELETE", f"/v1/sessions/{LARGEST}", headers={"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
        answered = time.perf_counter()
        while psql(server.dsn, _LEFT, [LARGEST])[0][0]:
            time.sleep(0.5)
        gone = time.perf_counter()
        for who, posted in (("others", others), ("the account itself", own)):
            report(f"{who}, before", posted, 0, begun)
            report(f"{who}, meanwhile", posted, begun, gone + 1)
    say(f"answered {status} after {answered - begun:.2f} s, gone after {gone - begun:.1f} s")

"""What the lists of a large account cost, as its owner asks for them."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from happy.bench import proc
from happy.bench.accounts import Account, Accounts
from happy.bench.http import Http
from happy.bench.loop import Loop
from happy.bench.streams import Sources, find
from tests.operated import Operated, say
from tests.scale.filling import LARGEST, Size, analyse, fill_account, fill_others

TIMES = 100
_MESSAGES = f"/v3/sessions/{LARGEST}/messages"


def measure(server: Operated, size: Size) -> None:
    """Fill the database of a running server, and print what each list costs."""
    loop = Loop()
    target = find(server.url)
    http = Http(loop, target, Sources(target, 1))
    account = loop.run(Accounts(http, "scale").log_in(1))
    size = replace(size, account=_account_id(account))
    _report("filling", fill, server.dsn, size)
    _report("analysing", analyse, server.dsn)
    say(f"{'':<34}{'ms':>8}{'server':>10}{'PostgreSQL':>12}   (CPU, ms)")
    for name, requests in _requests(size).items():
        loop.run(_time(server, http, account, name, requests))
    http.close()
    loop.close()


def fill(dsn: str, size: Size) -> None:
    """Everything that ``size`` says."""
    fill_others(dsn, size)
    fill_account(dsn, size)


def _report(what: str, work: Any, *arguments: Any) -> None:
    begun = time.perf_counter()
    work(*arguments)
    say(f"{what}: {time.perf_counter() - begun:.1f} s")


def _account_id(account: Account) -> str:
    claims = account.token.split(".")[1]
    return str(msgspec.json.decode(base64.urlsafe_b64decode(claims + "=="))["sub"])


def _requests(size: Size) -> dict[str, tuple[str, str, Any]]:
    """Method, path and body of each list, at its start, in its middle and at its end."""
    many, half = size.messages, size.messages // 2
    middle = f"cursor_v1_s{size.sessions // 2:06}"
    today = int((time.time() - 86_400) * 1000)
    return {
        "S1 first list": ("GET", "/v1/sessions", None),
        "S3 first page of 50": ("GET", "/v2/sessions", None),
        "S3 middle": ("GET", f"/v2/sessions?cursor={middle}", None),
        "S3 end": ("GET", "/v2/sessions?cursor=cursor_v1_s000051", None),
        "S3 changed since yesterday": ("GET", f"/v2/sessions?changedSince={today}", None),
        "S3 changed since yesterday, middle": (
            "GET",
            f"/v2/sessions?changedSince={today}&cursor={middle}",
            None,
        ),
        "S4 active": ("GET", "/v2/sessions/active", None),
        "M1 newest 150": ("GET", f"/v1/sessions/{LARGEST}/messages", None),
        "M2 start, 100": ("GET", f"{_MESSAGES}?after_seq=0", None),
        "M2 middle, 100": ("GET", f"{_MESSAGES}?after_seq={half}", None),
        "M2 end, 100": ("GET", f"{_MESSAGES}?after_seq={many - 100}", None),
        "M2 backwards from the end": ("GET", f"{_MESSAGES}?before_seq=2147483647", None),
        "M2 backwards from the middle": ("GET", f"{_MESSAGES}?before_seq={half}", None),
        "M3 one message": ("POST", _MESSAGES, 1),
        "M3 fifty messages": ("POST", _MESSAGES, 50),
        "H2 machines": ("GET", "/v1/machines", None),
        "U4 a week": ("POST", "/v1/usage/query", {"startTime": today // 1000 - 6 * 86_400}),
        "U4 everything": ("POST", "/v1/usage/query", {}),
        "N1 first page of 50": ("GET", "/v1/feed", None),
        "N1 middle": ("GET", f"/v1/feed?before=0-{size.feed // 2}", None),
    }


async def _time(
    server: Operated, http: Http, account: Account, name: str, asked: tuple[str, str, Any]
) -> None:
    method, path, body = asked
    times = TIMES if name != "U4 everything" else 5
    bodies = _bodies(name, body, times + 1)
    await _ask(http, account, method, path, next(bodies))
    before, begun = _cpu(server), time.perf_counter()
    for one in bodies:
        await _ask(http, account, method, path, one)
    each = [1000 * (time.perf_counter() - begun) / times]
    each += [1000 * (now - then) / times for now, then in zip(_cpu(server), before, strict=True)]
    say(f"{name:<34}{each[0]:>8.2f}{each[1]:>10.2f}{each[2]:>12.2f}")


def _bodies(name: str, body: Any, times: int) -> Iterator[Any]:
    for number in range(times):
        if isinstance(body, int):
            numbers = [f"{name} {number} {n}" for n in range(body)]
            yield {"messages": [{"content": "x" * 300, "localId": one} for one in numbers]}
        else:
            yield msgspec.UNSET if body is None else body


async def _ask(http: Http, account: Account, method: str, path: str, body: Any) -> None:
    answer = await http.ask(method, path, account.token, body)
    if answer.status != 200:
        raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:200]!r}")


def _cpu(server: Operated) -> tuple[float, float]:
    backends = proc.children(server.postgres, proc.parents())
    database = proc.cpu_seconds(server.postgres, with_reaped=True) + sum(map(proc.cpu_seconds, backends))
    return proc.cpu_seconds(server.pid), database

"""The command ``happyctl bench``."""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec

from happy.bench import html, text
from happy.bench.coordinator import Show, perform
from happy.bench.fleet import WorkerFailed
from happy.bench.load import Load
from happy.bench.observe import Observer
from happy.bench.plan import PLANS, Plan
from happy.bench.streams import Target, Unreachable, find_all
from happy.bench.summary import summarise

_HELP = """\
scenarios:
{scenarios}

The tool makes accounts, sessions and machines of its own on the server and leaves them there: use a server
that you can throw away. A server that limits logins by address must allow as many as there are accounts.
It exits with 0 if nothing failed, was lost, duplicated or reordered, with 1 otherwise, and with 2 if it
could not run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = [f"  {name:<10}{plan.help}" for name, plan in PLANS.items()]
    parser.epilog = _HELP.format(scenarios="\n".join(lines))
    parser.add_argument(
        "url", help="the server, as http://127.0.0.1:3005, or all nodes of one, separated by commas"
    )
    parser.add_argument("scenario", choices=list(PLANS), metavar="scenario", help="one of those below")
    _add_load(parser.add_argument_group("load (0 or nothing: the scenario's own choice)"))
    _add_running(parser.add_argument_group("running"))
    parser.set_defaults(run=run)


def _add_load(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--seconds", type=_positive, help="how long")
    group.add_argument("--senders", type=_count, default=0, help="who sends, calls or connects at once")
    group.add_argument("--accounts", type=_count, default=0, help="accounts they belong to")
    group.add_argument("--sockets", type=_count, default=0, help="sockets that listen, or are held")
    group.add_argument("--targets", type=_count, default=0, help="rpc: machines that answer")
    group.add_argument(
        "--messages", type=_count, default=0, help="history: in the session; profile: a second"
    )
    group.add_argument("--size", type=_count, default=1024, help="bytes of a message or call (1024)")
    group.add_argument("--batch", type=_batch, default=1, help="messages, updates or calls at once (1)")
    group.add_argument("--via", choices=["socket", "http"], default="socket", help="how messages are sent")
    group.add_argument("--scale", type=_positive, default=1.0, help="profile: part of the hosted service (1)")
    group.add_argument(
        "--passing", type=_rate, default=0.0, help="profile: clients a second that come and break off (0)"
    )


def _add_running(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--workers", type=_count, default=0, help="processes that make the load")
    group.add_argument("--warmup", type=float, help="seconds at the beginning that do not count")
    group.add_argument(
        "--patience", type=_positive, default=15.0, help="seconds to wait for late answers (15)"
    )
    group.add_argument("--addresses", type=_count, default=0, help="source addresses in 127.0.0.0/8 to use")
    group.add_argument("--pid", type=int, help="the server's process, if its port does not tell")
    group.add_argument("--metrics", metavar="URL", help="the server's metrics page, if it runs elsewhere")
    group.add_argument("--json", type=_writable, metavar="FILE", help="write the results as JSON")
    group.add_argument("--html", type=_writable, metavar="FILE", help="write a report with plots")


def _count(value: str) -> int:
    number = int(value)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _batch(value: str) -> int:
    number = int(value)
    if not 1 <= number <= 100:
        raise argparse.ArgumentTypeError("must be 1 to 100")
    return number


def _positive(value: str) -> float:
    number = float(value)
    if not number > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


def _rate(value: str) -> float:
    number = float(value)
    if not number >= 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _writable(value: str) -> Path:
    """A file that can be written when the run is over; told before it begins."""
    path = Path(value)
    if (
        path.is_dir()
        or not os.access(path.parent, os.W_OK)
        or (path.exists() and not os.access(path, os.W_OK))
    ):
        raise argparse.ArgumentTypeError(f"cannot write {value}")
    return path


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks; the exit status."""
    show = _progress_line()
    try:
        report = _report(options, show)
    except (Unreachable, WorkerFailed) as error:
        show("")
        sys.stderr.write(f"happyctl: {error}\n")
        return 2
    except KeyboardInterrupt:
        show("")
        sys.stderr.write("happyctl: interrupted\n")
        return 2
    show("")
    sys.stdout.write(text.render(report))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if options.html:
        options.html.write_text(html.render(report))
    return 0 if report["clean"] else 1


def _report(options: argparse.Namespace, show: Show) -> dict[str, Any]:
    plan = PLANS[options.scenario]
    targets = find_all(options.url)
    load = _load(options, plan)
    room = _descriptors()
    sockets = plan.sockets(load)
    workers = 1 if plan.alone else options.workers or plan.workers(load, room, os.cpu_count() or 1)
    if sockets / workers > room:
        raise Unreachable(f"{workers} workers cannot hold {sockets:,} sockets; allow more with ulimit -n")
    addresses = options.addresses or plan.addresses(load)
    warmup = plan.warmup(load.seconds) if options.warmup is None else min(options.warmup, load.seconds / 2)
    here = [target.port for target in targets if _is_here(target)]
    observer = Observer(ports=here if options.pid is None else (), pid=options.pid, metrics=options.metrics)
    run = perform(options.url, load, workers, addresses, warmup, observer, show)
    return summarise(run, options.url, [shlex.join(["happyctl", *sys.argv[1:]])])


def _load(options: argparse.Namespace, plan: Plan) -> Load:
    given = {name: getattr(options, name) for name in Load.__struct_fields__ if hasattr(options, name)}
    return Load(**{**given, "seconds": options.seconds or plan.seconds})


def _descriptors() -> int:
    """How many sockets a process of ours may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 64


def _is_here(target: Target) -> bool:
    return target.local or target.address == "::1"


def _progress_line() -> Show:
    """Where progress goes: one line of a terminal that is written over and over, or nowhere."""
    if not sys.stderr.isatty():
        return lambda line: None

    def show(line: str) -> None:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
        sys.stderr.write(f"\r\x1b[K{line[: width - 1]}")
        sys.stderr.flush()

    return show

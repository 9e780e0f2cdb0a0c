"""The load of the hosted service for an hour, with clients that come and break off: does the server drift?"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from happy.bench.coordinator import Run
from happy.bench.load import Load
from happy.bench.summary import machine
from tests.faults.load import Background
from tests.operated import Operated, free_port, operated, say
from tests.soak.drawing import curve, sheet
from tests.soak.samples import Drift, Sample, drift, look

EVERY = 10.0
SETTLED, SPAN = 600.0, 300.0
"""Seconds that do not count at the beginning, and of which the memory is the median; less in a short run."""


def main() -> int:
    """Do what the command line asks for; the exit status is 0 if nothing drifted and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--scale", type=float, default=0.5, help="part of the hosted service (0.5)")
    parser.add_argument("--passing", type=float, default=20.0, help="clients a second that break off (20)")
    parser.add_argument("--folder", type=Path, help="where the scratch folder goes")
    parser.add_argument("--twistd", type=Path, help="the server of another installation")
    parser.add_argument("--json", type=Path, help="write everything there")
    parser.add_argument("--svg", type=Path, help="draw the curve of the memory there")
    parser.add_argument("--html", type=Path, help="draw every curve there")
    options = parser.parse_args()
    load = Load(
        scenario="profile", seconds=options.minutes * 60, scale=options.scale, passing=options.passing
    )
    with tempfile.TemporaryDirectory(prefix="happy-soak-", dir=options.folder) as name:
        folder, metrics = Path(name), free_port()
        folder.chmod(0o755)
        settings = (f"--metrics-port={metrics}", "--address-limit=0", "--login-limit=0")
        with operated(folder, *settings, twistd=options.twistd) as server:
            say(f"serving after {server.start():.2f} s, {_room():,} open files allowed")
            samples, run = _soak(server, metrics, load)
    found = drift(samples, min(SETTLED, load.seconds / 3), min(SPAN, load.seconds / 6))
    return _report(options, samples, run, found)


def _room() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _soak(server: Operated, metrics: int, load: Load) -> tuple[list[Sample], Run]:
    background = Background(server, load)
    background.start()
    say("the load begins")
    samples = [look(server, metrics, 0.0)]
    while (second := background.clock()) < load.seconds - EVERY:
        background.wait_until(second + EVERY)
        samples.append(look(server, metrics, background.clock()))
        if len(samples) % 30 == 0:
            say(_line(samples[-1]))
    say("waiting for the load to end, and for what it finds")
    return samples, background.result()


def _line(one: Sample) -> str:
    parts = [
        f"{one.second / 60:5.0f} min: memory {one.memory:.0f} MiB",
        f"kept for clients {one.budget:.1f} MiB",
        f"{one.sockets:,.0f} sockets",
        f"{one.files:,} files",
        f"log {one.log_kib:.0f} KiB",
    ]
    return ", ".join(parts if one.stalls is None else [*parts, f"{one.stalls:.0f} stalls"])


def _report(options: argparse.Namespace, samples: list[Sample], run: Run, found: Drift) -> int:
    verdict, errors = run.verdict.dump(), _errors(run)
    facts = [
        f"memory {found.early:.1f} MiB early, {found.late:.1f} MiB at the end, {found.part:+.1%}",
        ", ".join(f"{name} {number:,}" for name, number in verdict.items()),
        *(f"{count:,} x {reason}" for reason, count in errors.items()),
        _line(samples[-1]),
    ]
    for fact in facts:
        say(fact)
    if options.json:
        report: dict[str, Any] = {
            "machine": machine(),
            "load": msgspec.to_builtins(run.load),
            "drift": {**asdict(found), "part": found.part},
            **verdict,
            "errors": errors,
            "measures": dict(run.measured.amounts),
            "samples": [asdict(one) for one in samples],
        }
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if options.svg:
        options.svg.write_text(curve(samples))
    if options.html:
        options.html.write_text(sheet(samples, facts))
    return 0 if found.small and run.verdict.clean and not errors else 1


def _errors(run: Run) -> dict[str, int]:
    whole = run.measured.errors + run.late.errors
    return dict(whole.most_common())


if __name__ == "__main__":
    sys.exit(main())

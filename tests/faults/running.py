"""One run: a server, the load, one fault after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from happy.bench.coordinator import Run
from happy.bench.load import Load
from tests.faults.harm import FAULTS, LASTING
from tests.faults.judging import Effect, Incident, effects
from tests.faults.load import Background, memory
from tests.faults.stage import Stage, small_file_system
from tests.interposed import Switches
from tests.operated import operated

SERVER = ("--metrics-enabled=false", "--address-limit=0", "--login-limit=0")


@dataclass(frozen=True)
class Plan:
    """What is to happen. Times are in seconds: before the first fault, of what lasts, after each fault, and
    for what takes longer than planned. ``messages`` are those a second, ``disk`` a size in MiB.
    """

    faults: Sequence[str]
    scale: float
    sockets: int
    quiet: float = 10.0
    lasting: float = 60.0
    settling: float = 15.0
    slack: float = 30.0
    messages: int = 0
    accounts: int = 0
    disk: int = 2048
    options: Sequence[str] = ()
    folder: Path | None = None

    @property
    def seconds(self) -> float:
        """How long the load may go on."""
        return self.quiet + sum(map(self.lasts, self.faults)) + self.slack

    def lasts(self, fault: str) -> float:
        """How long a fault and what is looked at after it may take."""
        return self.settling + (LASTING[fault](self.lasting) if fault in LASTING else 0.0)


@dataclass
class Outcome:
    """What came of it."""

    run: Run
    effects: list[Effect]
    memory: float
    log: str
    skipped: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def perform(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Do the whole run."""
    with _stage(plan) as stage:
        skipped = ["disk"] if "disk" in plan.faults and stage.small is None else []
        faults = [fault for fault in plan.faults if fault not in skipped]
        say(f"serving after {stage.server.start():.2f} s")
        load = Load(
            scenario="profile",
            seconds=plan.seconds,
            scale=plan.scale,
            messages=plan.messages,
            accounts=plan.accounts,
        )
        background = Background(stage.server, load)
        background.start()
        incidents = list(_hurt(stage, plan, faults, background, say))
        say("waiting for what the load finds")
        try:
            run = background.result()
        except Exception as error:
            error.add_note("\n".join(stage.problems))
            raise
        found = effects(run, incidents, (2.0, plan.quiet))
        return Outcome(run, found, memory(run), stage.server.log, skipped, stage.problems)


def _hurt(
    stage: Stage, plan: Plan, faults: Sequence[str], load: Background, say: Callable[[str], None]
) -> Iterator[Incident]:
    load.wait_until(plan.quiet)
    for fault in faults:
        begin = load.clock()
        if begin + plan.lasts(fault) > plan.seconds:
            stage.problems.append(f"no time was left for {fault}")
            continue
        say(f"{begin:6.1f} s: {fault}")
        known = len(stage.problems)
        note = FAULTS[fault](stage)
        end = load.clock()
        say(f"{end:6.1f} s: {fault}, {note}")
        for problem in stage.problems[known:]:
            say(f"FAIL: {problem}")
        load.wait_until(end + plan.settling)
        # The tool's seconds end a little late: the last one might see what comes next.
        yield Incident(fault, begin, end, end + plan.settling - 1, note)


@contextmanager
def _stage(plan: Plan) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="happy-faults-", dir=plan.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        switches = Switches(folder)
        full = small_file_system(folder / "data", plan.disk) if "disk" in plan.faults else nullcontext(False)
        with (
            full as made,
            operated(folder, *SERVER, *plan.options, environment=switches.environment) as server,
        ):
            small = folder / "data" if made else None
            yield Stage(server, switches, plan.lasting, plan.sockets, small)

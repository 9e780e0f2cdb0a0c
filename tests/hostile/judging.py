"""What an attack may do to others, and what one did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.hostile.watching import Seen, Stalls


@dataclass(frozen=True)
class Bounds:
    """``latency`` is in seconds, of anything that the innocent does, beyond what its machine owes;
    ``growth`` of the memory during an attack and ``left`` afterwards are in MiB, ``patience`` is in seconds,
    ``log`` in KiB, ``stalls`` is how many turns of the server's loop may take longer than 50 ms.
    """

    latency: float = 0.25
    growth: float = 256
    left: float = 64
    patience: float = 60
    log: float = 256
    stalls: float = 0


@dataclass
class Outcome:
    """One attack. Memory is in MiB above the start, ``left`` was so ``left_after`` seconds; ``log`` is in
    KiB. ``leaked`` tells that something of the attacker's was in the log, ``tracebacks`` counts those.
    """

    name: str
    seen: Seen
    stalls: Stalls
    seconds: float = 0.0
    note: str = ""
    growth: float = 0.0
    left: float = 0.0
    left_after: float = 0.0
    log: float = 0.0
    tracebacks: int = 0
    leaked: bool = False
    alive: bool = True
    misbehaved: str = ""
    wrong: list[str] = field(default_factory=list)

    def judge(self, bounds: Bounds) -> None:
        """Write down what is beyond the bounds."""
        kind, worst = self.seen.worst
        checks = {
            "the server is gone": not self.alive,
            self.misbehaved: bool(self.misbehaved),
            f"{kind} took {worst:.2f} s": worst > bounds.latency,
            f"memory +{self.growth:.0f} MiB": self.growth > bounds.growth,
            f"still +{self.left:.0f} MiB after {self.left_after:.0f} s": self.left > bounds.left,
            f"log +{self.log:.0f} KiB": self.log > bounds.log,
            f"{self.tracebacks} tracebacks": self.tracebacks > 0,
            "the log repeats what a client sent": self.leaked,
            f"{self.stalls.long:.0f} stalls over 50 ms": self.stalls.long > bounds.stalls,
        }
        self.wrong = [text for text, holds in checks.items() if holds]
        self.wrong += [f"{what} ({count} times)" for what, count in self.seen.harm.items()]

    def dump(self) -> dict[str, Any]:
        """As JSON values."""
        kind, worst = self.seen.worst
        return {
            "name": self.name,
            "ok": not self.wrong,
            "wrong": self.wrong,
            "note": self.note,
            "seconds": round(self.seconds, 1),
            "worst_ms": round(worst * 1e3),
            "worst_kind": kind,
            "lag_ms": round(self.seen.lag * 1e3),
            "tries": self.seen.count,
            "harm": dict(self.seen.harm),
            "growth_mib": round(self.growth),
            "left_mib": round(self.left),
            "left_after": round(self.left_after),
            "log_kib": round(self.log, 1),
            "stalls": self.stalls.long if self.stalls.known else None,
        }


COLUMNS = ("attack", "", "worst", "of", "harm", "memory", "left", "log", "stalls", "took", "")


def row(outcome: Outcome) -> tuple[str, ...]:
    """An outcome in the columns of the table."""
    kind, worst = outcome.seen.worst
    return (
        outcome.name,
        "FAIL" if outcome.wrong else "ok",
        f"{worst * 1e3:.0f} ms",
        kind,
        str(sum(outcome.seen.harm.values())),
        f"{outcome.growth:+.0f} MiB",
        f"{outcome.left:+.0f} MiB",
        f"{outcome.log:.0f} KiB",
        f"{outcome.stalls.long:.0f}" if outcome.stalls.known else "-",
        f"{outcome.seconds:.0f} s",
        outcome.note if not outcome.wrong else "; ".join(outcome.wrong),
    )

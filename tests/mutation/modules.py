"""Which modules are mutated, and which tests should notice.

Those in which a fault is hardest to see: formats, Socket.IO, delivery in order, and the transactions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

MODULES: dict[str, tuple[str, ...]] = {
    "happy.base.pace": ("test_lines",),
    "happy.wire.chunks": (),
    "happy.wire.complexity": (),
    "happy.wire.engine_session": (),
    "happy.wire.engine_table": (),
    "happy.wire.engineio": ("test_endpoint",),
    "happy.wire.frames": (),
    "happy.wire.heads": (),
    "happy.wire.incoming": (),
    "happy.wire.jsontext": (),
    "happy.wire.outgoing": (),
    "happy.api.described": ("test_structs",),
    "happy.api.payload": ("test_resource", "test_structs", "test_bounded_misfits"),
    "happy.api.query": ("test_resource",),
    "happy.api.slices": (),
    "happy.wire.socketio": (),
    "happy.api.validation": ("test_structs",),
    "happy.socketio.connection": (
        "test_recovery",
        "test_packets",
        "test_websocket",
        "test_upgrade",
        "test_endpoint",
    ),
    "happy.socketio.endpoint": ("test_opening", "test_polling", "test_websocket", "test_upgrades"),
    "happy.socketio.engine": (
        "test_shares",
        "test_endpoint",
        "test_polling",
        "test_upgrade",
        "test_websocket",
        "test_slow_readers",
    ),
    "happy.socketio.fastframes": ("test_reading",),
    "happy.socketio.backlog": ("test_slow_readers",),
    "happy.socketio.reading": ("test_websocket",),
    "happy.socketio.unmasking": (),
    "happy.socketio.opening": ("test_upgrades",),
    "happy.socketio.polling": ("test_endpoint",),
    "happy.socketio.socket": ("test_application",),
    "happy.socketio.upgrade": ("test_endpoint", "test_upgrades", "test_websocket"),
    "happy.socketio.websocket": ("test_reading", "test_slow_readers"),
    "happy.realtime.application": (),
    "happy.realtime.batches": ("test_committer", "test_delivering"),
    "happy.realtime.calls": ("test_application", "test_remote_calls"),
    "happy.realtime.committer": ("test_message_queue",),
    "happy.realtime.heartbeats": ("test_presence",),
    "happy.realtime.hub": ("test_application",),
    "happy.realtime.lines": (),
    "happy.realtime.lookups": (),
    "happy.realtime.message_queue": (),
    "happy.realtime.pending": (),
    "happy.realtime.presence": ("test_heartbeats",),
    "happy.realtime.recovery": (),
    "happy.realtime.replay": (),
    "happy.realtime.updates": (),
    "happy.storage.append": ("test_committer",),
    "happy.storage.attempt": ("test_database", "test_log", "test_lost_connections"),
    "happy.storage.calls": (),
    "happy.storage.connection": ("test_database", "test_lost_connections", "test_pool", "test_poolers"),
    "happy.storage.database": (),
    "happy.storage.lending": ("test_lost_connections", "test_pool"),
    "happy.storage.linearizer": (),
    "happy.storage.log": (),
    "happy.storage.pool": ("test_database", "test_poolers"),
    "happy.storage.transaction": ("test_database", "test_pieces"),
    "happy.storage.writer": (),
}
"""Each with further tests that drive it without naming it."""

ROOMS = {module.split(".")[1] for module in MODULES}
"""Folders of tests that look closely; importers elsewhere look at something else."""

SLOW = {"backup", "bench", "browser", "client", "contract", "faults", "hostile", "live", "scale", "soak"}
"""Folders of tests that start servers; the others should do without them."""


def named(names: Sequence[str]) -> list[str]:
    """The modules that names are of, or of the rooms that names are of."""
    found = [[one for one in MODULES if f"{one}.".startswith(f"{name}.")] or [name] for name in names]
    return [module for modules in found for module in modules]


def source_of(module: str) -> Path:
    """The file of a module, relative to the tree."""
    return Path(module.replace(".", "/") + ".py")


def chosen_tests(module: str) -> list[str]:
    """The test files of a module's name, those of the rooms that import it, and the further ones."""
    room, _, name = module.rpartition(".")
    imported = re.compile(rf"{re.escape(module)}\b|from {re.escape(room)} import [^\n]*\b{name}\b")
    files = [
        file
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        if not SLOW & set(file.relative_to(ROOT / "tests").parts)
    ]
    further = MODULES.get(module, ())
    return [
        str(file.relative_to(ROOT))
        for file in files
        if re.fullmatch(rf"test_{name}(_\w+)?", file.stem)
        or file.stem in further
        or (file.parent.name in ROOMS and imported.search(file.read_text()))
    ]

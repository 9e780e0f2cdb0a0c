"""The kinds of load."""

from __future__ import annotations

from happy.bench.bench import Scenario
from happy.bench.scenarios.connect import Connect
from happy.bench.scenarios.fanout import Fanout
from happy.bench.scenarios.history import History
from happy.bench.scenarios.idle import Idle
from happy.bench.scenarios.messages import Messages
from happy.bench.scenarios.profile import Profile
from happy.bench.scenarios.rpc import Rpc

SCENARIOS: dict[str, type[Scenario]] = {
    "messages": Messages,
    "fanout": Fanout,
    "rpc": Rpc,
    "idle": Idle,
    "connect": Connect,
    "history": History,
    "profile": Profile,
}

"""What to do, as the coordinator tells a worker."""

from __future__ import annotations

import msgspec


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """The load of a run; each scenario uses some of it. 0 leaves a number to the scenario.

    ``size`` is in bytes; ``patience`` in seconds that late answers get at the end; ``passing`` is clients a
    second that come and break off.
    """

    scenario: str
    seconds: float
    senders: int = 0
    accounts: int = 0
    sockets: int = 0
    messages: int = 0
    size: int = 1024
    batch: int = 1
    targets: int = 0
    scale: float = 1.0
    via: str = "socket"
    passing: float = 0.0
    patience: float = 15.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's part: worker ``index`` of ``workers``. ``run`` makes names of different runs differ."""

    url: str
    run: str
    load: Load
    index: int
    workers: int
    addresses: int

    def share(self, whole: int) -> range:
        """The numbers below ``whole`` that are this worker's."""
        return range(self.index, whole, self.workers)

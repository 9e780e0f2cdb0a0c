"""Makes ``happy`` a command of ``twistd`` and ``twist``."""

from __future__ import annotations

from twisted.application.service import ServiceMaker

happy = ServiceMaker("Happy sync server", "happy.tap", "A sync server for the Happy clients.", "happy")

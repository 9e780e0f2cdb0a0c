"""What the server offers. One line each; the tap serves them in this order."""

from __future__ import annotations

from happy.capabilities._declare import Capability

CAPABILITIES: tuple[Capability, ...] = ()

"""What the server offers. One line each; the tap serves them in this order."""

from __future__ import annotations

from happy.capabilities import (
    account,
    attachments,
    auth,
    debug_log,
    push,
    system,
    vendors,
    versions,
)
from happy.capabilities._declare import Capability

CAPABILITIES: tuple[Capability, ...] = (
    system.banner,
    system.system,
    system.files,
    auth.auth,
    account.account,
    push.push,
    attachments.attachments,
    vendors.vendors,
    versions.versions,
    debug_log.debug_log,
)

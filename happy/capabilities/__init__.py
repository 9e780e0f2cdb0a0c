"""What the server offers. One line each; the tap serves them in this order."""

from __future__ import annotations

from happy.capabilities import (
    account,
    attachments,
    auth,
    debug_log,
    feed,
    github,
    push,
    social,
    system,
    vendors,
    versions,
    voice,
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
    github.github,
    vendors.vendors,
    social.social,
    feed.feed,
    voice.voice,
    versions.versions,
    debug_log.debug_log,
)

"""What the server offers. One line each; the tap serves them in this order."""

from __future__ import annotations

from happy.capabilities import (
    access_keys,
    account,
    artifacts,
    attachments,
    auth,
    debug_log,
    feed,
    github,
    kv,
    machines,
    messages,
    push,
    sessions,
    social,
    system,
    usage,
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
    sessions.sessions,
    messages.messages,
    machines.machines,
    access_keys.access_keys,
    artifacts.artifacts,
    kv.kv,
    account.account,
    usage.usage,
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

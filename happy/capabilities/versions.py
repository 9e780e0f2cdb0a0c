"""Advice to the mobile apps whether to update (http.md 6.17)."""

from __future__ import annotations

import re

from msgspec import UNSET, UnsetType, field

from happy.api.declare import Capability
from happy.api.structs import Body, Reply
from happy.capabilities.server import Server

_OLDEST = (1, 4, 1)
_STORES = {
    "ios": "https://apps.apple.com/us/app/happy-claude-code-client/id6748571505",
    "android": "https://play.google.com/store/apps/details?id=com.ex3ndr.happy",
}
_NUMBER = r"(0|[1-9][0-9]{0,15})"
_LONGEST = 256
_GREATEST = 2**53 - 1
_RELEASE = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")
"""A semantic version that is no pre-release."""

versions = Capability("versions")


class App(Body, rename=None):
    """The app that asks; ``app_id`` makes no difference."""

    platform: str
    version: str
    app_id: str


class Advice(Reply):
    """Where to get a newer app, or null.

    The last two members are what shipped apps read; the configuration says whether they are sent (D11).
    """

    update_url: str | None
    required: bool | UnsetType = field(default=UNSET, name="update_required")
    address: str | None | UnsetType = field(default=UNSET, name="update_url")


@versions.post("/v1/version", public=True)
async def check(server: Server, body: App) -> Advice:
    """Whether the app is too old, and where a newer one is."""
    store = _STORES.get(body.platform.lower())
    url = None if store is None or supported(body.version) else store
    if not server.config.update_prompt:
        return Advice(update_url=url)
    return Advice(update_url=url, required=url is not None, address=url)


def supported(version: str) -> bool:
    """Whether a version is a release not older than the oldest that still works."""
    release = _RELEASE.fullmatch(version.strip()) if len(version) <= _LONGEST else None
    if release is None:
        return False
    numbers = tuple(map(int, release.groups()))
    return numbers >= _OLDEST and max(numbers) <= _GREATEST

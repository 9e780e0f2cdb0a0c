"""The account's own profile and its versioned settings (http.md 6.9)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from happy.api.declare import MIB, Caller, Capability
from happy.api.structs import Body, NonNegative, Reply, Timestamp, stands_for
from happy.base.errors import AccountVanished
from happy.capabilities import _profiles
from happy.capabilities.server import Server
from happy.realtime.updates import Avatar, GitHubUser, NullableVersion, UpdateAccount, devices_of
from happy.storage import accounts
from happy.storage.transaction import Transaction

account = Capability("account")


class Profile(Reply):
    """``timestamp`` is the server's time; ``connected_services`` are vendors with a stored token."""

    id: str
    timestamp: Timestamp
    first_name: str | None
    last_name: str | None
    username: str | None
    avatar: Avatar | None
    github: GitHubUser | None
    connected_services: list[str]


class Settings(Reply):
    settings: Annotated[Any, stands_for(str | None)]
    settings_version: int


class ChangeSettings(Body):
    """``settings`` is opaque and may be null, but has to be given."""

    settings: str | None
    expected_version: NonNegative


class SettingsChanged(Reply):
    success: Literal[True] = True
    version: int


class SettingsMismatch(Reply):
    success: Literal[False] = False
    error: Literal["version-mismatch"] = "version-mismatch"
    current_version: int
    current_settings: Annotated[Any, stands_for(str | None)]


@account.get("/v1/account/profile")
async def profile(tx: Transaction, caller: Caller, server: Server) -> Profile:
    """Who the caller is."""
    row = await accounts.profile(tx, caller.account)
    if row is None:
        raise AccountVanished
    return Profile(
        id=caller.account,
        timestamp=int(tx.now),
        first_name=row.first_name,
        last_name=row.last_name,
        username=row.username,
        avatar=_profiles.avatar(row.avatar, server.objects.public_url),
        github=_profiles.stored_github_profile(row.github),
        connected_services=row.vendors,
    )


@account.get("/v1/account/settings", failure={"error": "Failed to get account settings"})
async def settings(tx: Transaction, caller: Caller) -> Settings:
    """The settings that all devices of the account share."""
    found = await accounts.settings(tx, caller.account)
    if found is None:
        raise AccountVanished
    return Settings(settings=found.value, settings_version=found.version)


@account.post(
    "/v1/account/settings",
    failure={"success": False, "error": "Failed to update account settings"},
    limit=100 * MIB,
)
async def change_settings(
    tx: Transaction, caller: Caller, body: ChangeSettings
) -> SettingsChanged | SettingsMismatch:
    """Replace the settings if nobody else did since the caller read them."""
    stored = await accounts.set_settings(tx, caller.account, body.settings, body.expected_version)
    if stored is None:
        raise AccountVanished
    if not stored.changed:
        return SettingsMismatch(current_version=stored.version, current_settings=stored.value)
    version = NullableVersion(body.settings, stored.version)
    tx.publish(devices_of(caller.account), UpdateAccount(id=caller.account, settings=version))
    return SettingsChanged(version=stored.version)

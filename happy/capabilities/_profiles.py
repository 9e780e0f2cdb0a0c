"""What accounts show of themselves: to others (http.md 6.14), and to their own devices (D12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from happy.realtime.updates import Avatar
from happy.storage.relationships import Person, Status

PublicUrl = Callable[[str], str]
"""The public address of a path in the object store."""


class PublicAvatar(Struct, frozen=True, kw_only=True):
    """A picture as others see it; what an old record does not know is absent."""

    path: str
    url: str
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    thumbhash: str | UnsetType = UNSET


class UserProfile(Struct, frozen=True, kw_only=True, rename="camel"):
    """An account as another one sees it; ``status`` is how the viewer relates to it."""

    id: str
    first_name: str
    last_name: str | None
    avatar: PublicAvatar | None
    username: str
    bio: str | None
    status: Status


class StoredAvatar(Struct, frozen=True, kw_only=True):
    """The value of ``Account.avatar``."""

    path: str
    width: int | None = None
    height: int | None = None
    thumbhash: str | None = None


def user_profile(person: Person, public_url: PublicUrl) -> UserProfile:
    """``person`` as the viewer of the row sees them."""
    return UserProfile(
        id=person.id,
        first_name=person.first_name or "",
        last_name=person.last_name,
        avatar=_public_avatar(person.avatar, public_url),
        username=person.username or person.github_login or "",
        bio=person.github_bio or None,
        status=person.status,
    )


def avatar(stored: str | None, public_url: PublicUrl) -> Avatar | None:
    """The account's own picture from its JSON text, with all five members; None if any is missing."""
    picture = _stored_avatar(stored)
    if picture is None or picture.width is None or picture.height is None or picture.thumbhash is None:
        return None
    return Avatar(
        width=picture.width,
        height=picture.height,
        thumbhash=picture.thumbhash,
        path=picture.path,
        url=public_url(picture.path),
    )


def stored_github_profile(stored: str | None) -> dict[str, Any] | None:
    """As :func:`github_profile` from the stored JSON text; None for one that is no GitHub user."""
    try:
        user = msgspec.json.decode(stored, type=dict[str, Any]) if stored else {}
    except (msgspec.DecodeError, RecursionError):
        return None
    number, login = user.get("id"), user.get("login")
    known = isinstance(number, int) and not isinstance(number, bool) and isinstance(login, str)
    return github_profile(user) if known else None


def github_profile(profile: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a GitHub user object, which has an id and a login, that the app's schema accepts (D12).

    A missing name becomes the login, an absent picture an empty address, an absent bio null, and an e-mail
    address that is no text goes.
    """
    shown = dict(profile)
    if not isinstance(shown.get("name"), str):
        shown["name"] = shown["login"]
    if not isinstance(shown.get("avatar_url"), str):
        shown["avatar_url"] = ""
    if not isinstance(shown.get("bio"), str):
        shown["bio"] = None
    if not isinstance(shown.get("email"), str):
        shown.pop("email", None)
    return shown


def _public_avatar(stored: str | None, public_url: PublicUrl) -> PublicAvatar | None:
    picture = _stored_avatar(stored)
    if picture is None:
        return None
    known = {name: value for name, value in msgspec.structs.asdict(picture).items() if value is not None}
    return PublicAvatar(url=public_url(picture.path), **known)


def _stored_avatar(stored: str | None) -> StoredAvatar | None:
    """The stored JSON text; None for one that is no picture."""
    try:
        return msgspec.json.decode(stored, type=StoredAvatar) if stored else None
    except msgspec.DecodeError:
        return None

"""What accounts show of themselves."""

from __future__ import annotations

import msgspec
import pytest

from happy.capabilities._profiles import avatar, github_profile, stored_github_profile, user_profile
from happy.storage.relationships import Person

STRANGER = Person("p1", None, None, None, None, None, None, "none")


def url(path: str) -> str:
    return f"http://files/{path}"


def shown(person: Person) -> dict[str, object]:
    value: dict[str, object] = msgspec.to_builtins(user_profile(person, url))
    return value


def test_blank_account() -> None:
    """An account without any profile has an empty first name and username, and nulls elsewhere."""
    assert shown(STRANGER) == {
        "id": "p1",
        "firstName": "",
        "lastName": None,
        "avatar": None,
        "username": "",
        "bio": None,
        "status": "none",
    }


def test_username_falls_back_to_the_login() -> None:
    """The account's username comes before GitHub's login."""
    assert shown(STRANGER._replace(github_login="octo"))["username"] == "octo"
    assert shown(STRANGER._replace(github_login="octo", username="me"))["username"] == "me"


def test_empty_bio_is_null() -> None:
    """An empty biography counts as none."""
    assert shown(STRANGER._replace(github_bio=""))["bio"] is None
    assert shown(STRANGER._replace(github_bio="Hi"))["bio"] == "Hi"


def test_unknown_measures_are_absent() -> None:
    """A picture of which only the place is known has a place and an address."""
    assert shown(STRANGER._replace(avatar='{"path": "a.png", "width": null}'))["avatar"] == {
        "path": "a.png",
        "url": "http://files/a.png",
    }


@pytest.mark.parametrize("stored", [None, "null", "[]", "{}", '{"path": 5}'])
def test_no_picture(stored: str | None) -> None:
    """A stored value that is no picture is no picture."""
    assert shown(STRANGER._replace(avatar=stored))["avatar"] is None
    assert avatar(stored, url) is None


def test_own_avatar_is_whole_or_absent() -> None:
    """An account's own picture needs all five members, because the app's schema does."""
    whole = '{"path": "a.png", "width": 3, "height": 2, "thumbhash": "AA=="}'
    assert msgspec.to_builtins(avatar(whole, url)) == {
        "width": 3,
        "height": 2,
        "thumbhash": "AA==",
        "path": "a.png",
        "url": "http://files/a.png",
    }
    assert avatar('{"path": "a.png", "width": 3, "height": 2}', url) is None


def test_github_nulls_are_mended() -> None:
    """The name falls back to the login, a null e-mail address goes, a missing biography is null."""
    stored = {"id": 1, "login": "octo", "name": None, "email": None, "avatar_url": "https://x", "more": [1]}
    assert github_profile(stored) == {
        "id": 1,
        "login": "octo",
        "name": "octo",
        "bio": None,
        "avatar_url": "https://x",
        "more": [1],
    }
    assert stored["name"] is None


def test_complete_github_profile_is_unchanged() -> None:
    """Nothing is changed that clients accept, an empty name included."""
    stored = {"id": 1, "login": "octo", "name": "", "email": "o@example.org", "bio": "Hi", "avatar_url": "u"}
    assert github_profile(stored) == stored


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "null",
        "[]",
        "5",
        "{}",
        '{"id": 1}',
        '{"id": "1", "login": "octo"}',
        '{"id": true, "login": "octo"}',
        '{"id": 1, "login": null}',
        '{"id": 1, "login": "octo", "size": 1e999}',
        '{"id": 1, "login": "octo", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_no_github_user(stored: str | None) -> None:
    """A stored value that the app could not take for a user is none, whatever its shape."""
    assert stored_github_profile(stored) is None


def test_github_user_without_a_picture() -> None:
    """Whatever else is missing, the app is told of a user it accepts."""
    mended = {"id": 1, "login": "octo", "name": "octo", "bio": None, "avatar_url": ""}
    assert stored_github_profile('{"id": 1, "login": "octo", "name": 5, "avatar_url": null}') == mended

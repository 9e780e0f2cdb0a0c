"""GitHub's OAuth and user interfaces (http.md G1, G2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from happy.outbound.http import Outgoing
from happy.outbound.images import MOST_BYTES, Picture, Pictures

if TYPE_CHECKING:
    from happy.metrics import Metrics
    from happy.settings.config import Config

SITE = "https://github.com"
API = "https://api.github.com"
SCOPES = "read:user,user:email,read:org,codespace"
_LARGEST_ID = 2**63
_LONGEST = 200
"""Characters of a word for a reason, and of a login: both are written into addresses."""


class Denied(Exception):
    """GitHub gives no token for a code; ``error`` is its word for the reason."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class GitHubUser(NamedTuple):
    """A user as GitHub tells it: the members we use, and ``profile``, the whole object."""

    id: str
    login: str
    name: str | None
    avatar_url: str | None
    profile: dict[str, Any]


class _Grant(Struct, frozen=True):
    access_token: str = ""
    error: Annotated[str, Meta(max_length=_LONGEST)] = ""

    def __post_init__(self) -> None:
        if not (self.access_token or self.error):
            raise ValueError("neither a token nor an error")


class _Identity(Struct, frozen=True):
    id: int
    login: Annotated[str, Meta(max_length=_LONGEST)]
    name: Any = None
    avatar_url: Any = None

    def __post_init__(self) -> None:
        if not (0 < self.id < _LARGEST_ID and self.login):
            raise ValueError("not a user")


class GitHub:
    """An OAuth app of GitHub's. Without both client id and secret it can be asked for nothing.

    ``site`` and ``api`` are the addresses of GitHub, without trailing slashes.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        pictures: Pictures,
        *,
        client_id: str | None,
        client_secret: str | None,
        site: str = SITE,
        api: str = API,
    ) -> None:
        self._outgoing = outgoing
        self._pictures = pictures
        self._client_id = client_id or ""
        self._client_secret = client_secret or ""
        self._site = site
        self._api = api

    @classmethod
    def from_config(cls, config: Config, reactor: Any, metrics: Metrics) -> GitHub:
        """The OAuth app of the settings, at GitHub's own addresses."""
        outgoing = Outgoing("github", reactor, metrics)
        pictures = Outgoing("avatars", reactor, metrics, limit=MOST_BYTES, concurrency=2, slow=6)
        return cls(
            outgoing,
            Pictures(pictures, reactor),
            client_id=config.github_client_id,
            client_secret=config.github_client_secret,
        )

    @property
    def configured(self) -> bool:
        """Whether codes can be exchanged for tokens."""
        return bool(self._client_id and self._client_secret)

    def authorize_url(self, redirect_url: str, state: str) -> str:
        """Where a browser asks its user for permission; it comes back to ``redirect_url``."""
        query = {
            "client_id": self._client_id,
            "redirect_uri": redirect_url,
            "scope": SCOPES,
            "state": state,
        }
        return f"{self._site}/login/oauth/authorize?{urlencode(query)}"

    async def exchange(self, code: str) -> str:
        """The access token that a code from the browser stands for. Raises :class:`Denied`, CallFailed."""
        grant = await self._outgoing.ask(
            "POST",
            f"{self._site}/login/oauth/access_token",
            _Grant,
            json={"client_id": self._client_id, "client_secret": self._client_secret, "code": code},
            headers={"Accept": "application/json"},
        )
        if grant.error:
            raise Denied(grant.error)
        return grant.access_token

    async def user(self, token: str) -> GitHubUser:
        """Whom an access token belongs to. Raises CallFailed, with a status where GitHub refuses."""
        return await self._outgoing.read(
            "GET",
            f"{self._api}/user",
            _decode_user,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.github.v3+json"},
        )

    async def picture(self, url: str) -> Picture:
        """The picture of a user. Raises NotAPicture and CallFailed."""
        return await self._pictures.fetch(url)


def _decode_user(raw: bytes) -> GitHubUser:
    """Raises ValueError for a text that is no user object."""
    profile = msgspec.json.decode(raw, type=dict[str, Any])
    known = msgspec.convert(profile, _Identity)
    name, avatar_url = (text if isinstance(text, str) else None for text in (known.name, known.avatar_url))
    return GitHubUser(str(known.id), known.login, name, avatar_url, profile)

"""Tests with a stand-in for GitHub on a real socket."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import msgspec
from PIL import Image
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from happy.metrics import Metrics
from happy.outbound.github import GitHub
from happy.outbound.http import Outgoing
from happy.outbound.images import Pictures
from happy.settings.config import Config
from tests.capabilities.asking import Answered, CapabilityCase
from tests.harness import psql
from tests.outbound.standin import Asked, StandIn, answer

APP = "https://app.happy.engineering"


CALLBACK = "https://happy.test/v1/connect/github/callback"


def picture(width: int = 20, height: int = 10) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), "red").save(file, "PNG")
    return file.getvalue()


class GitHubCase(CapabilityCase):
    """``self.answers`` are the stand-in's answers by path; ``self.standin.asked`` what it was asked."""

    fresh = True
    config = Config(
        github_client_id="client",
        github_client_secret="hush",
        github_redirect_url=CALLBACK,
        github_webhook_secret="hook",
    )

    async def setUp(self) -> None:
        await super().setUp()
        self.standin = standin = StandIn(self.reply)
        self.addCleanup(lambda: Deferred.fromCoroutine(standin.close()))
        self.answers: dict[str, bytes | None] = {
            "/login/oauth/access_token": answer({"access_token": "gho_1"}),
            "/picture": answer(picture()),
        }
        self.be(1, "octocat")
        outgoing = Outgoing("github", reactor, Metrics(CollectorRegistry()), timeout=5)
        github = GitHub(
            outgoing,
            Pictures(outgoing, reactor, trusted=lambda url: url.startswith(standin.url)),
            client_id=self.config.github_client_id,
            client_secret=self.config.github_client_secret,
            site=standin.url,
            api=standin.url,
        )
        self.change(github=github)

    def reply(self, asked: Asked, transport: Any) -> bytes | None:
        found = self.answers[asked.path]
        if found is None:
            transport.loseConnection()
        return found

    def be(self, number: int, login: str, **members: Any) -> None:
        """From now on GitHub's user is this one."""
        user = {
            "id": number,
            "login": login,
            "name": "Mona Lisa Octocat",
            "email": None,
            "avatar_url": f"{self.standin.url}/picture?u={number}",
        }
        self.answers["/user"] = answer(user | members)

    async def come_back(self, account: str, state: str | None = None) -> str:
        """Where the callback sends the browser, relative to the app."""
        state = state or self.server.tokens.issue_state(account)
        return self.destination(await self.ask("GET", f"/v1/connect/github/callback?code=c&state={state}"))

    def destination(self, answered: Answered) -> str:
        self.assertEqual((answered.status, answered.content), (302, b""))
        location = answered.headers["location"]
        self.assertTrue(location.startswith(f"{APP}?"), location)
        return location.removeprefix(APP)

    async def connect(self, account: str, login: str = "octocat") -> None:
        self.assertEqual(await self.come_back(account), f"?github=connected&user={login}")

    def told(self, account: str) -> list[Any]:
        """The account's updates as clients read them, which are forgotten."""
        mine = [update for update in self.hub.updates if update.audience.account == account]
        self.hub.updates = [update for update in self.hub.updates if update not in mine]
        return [json.loads(msgspec.json.encode(update.body)) for update in mine]

    def row(self, account: str) -> tuple[Any, ...]:
        """GitHub user, username, first name, last name."""
        (row,) = psql(
            self.dsn,
            'SELECT "githubUserId", "username", "firstName", "lastName" FROM "Account" WHERE "id" = %s',
            [account],
        )
        return row

    def users(self) -> list[Any]:
        """The known GitHub users, and for each the one account that may unseal the token."""
        return [row[0] for row in psql(self.dsn, 'SELECT "id" FROM "GithubUser" ORDER BY "id"')]

    def token(self, account: str) -> str:
        (row,) = psql(
            self.dsn,
            'SELECT g."token" FROM "GithubUser" AS g JOIN "Account" AS a ON a."githubUserId" = g."id" '
            'WHERE a."id" = %s',
            [account],
        )
        return self.server.vault.open(["user", account, "github", "token"], bytes(row[0]))

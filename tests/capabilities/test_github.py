"""Connecting with GitHub, on a real database, with a stand-in for GitHub on a real socket."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import msgspec
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from happy.capabilities.github import signed, split_name
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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, (None, None)),
        ("", (None, None)),
        (" \t ", (None, None)),
        ("Ada", ("Ada", None)),
        ("  Ada   King \n Lovelace ", ("Ada", "King Lovelace")),
    ],
)
def test_names(name: str | None, expected: tuple[str | None, str | None]) -> None:
    """The first word is the first name, the others are the last name."""
    assert split_name(name) == expected


def test_signatures() -> None:
    """Only the HMAC of exactly these bytes with exactly this secret is a signature."""
    right = "sha256=" + hmac.new(b"secret", b"content", hashlib.sha256).hexdigest()
    assert signed("secret", b"content", right)
    for wrong in (right.upper(), right[:-1], right[7:], right + " ", "", "sha256=", "sha256=\u00e9"):
        assert not signed("secret", b"content", wrong)
    assert not signed("secret", b"content ", right)
    assert not signed("Secret", b"content", right)


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


class ParametersTests(GitHubCase):
    async def test_address(self) -> None:
        """The address has a state that names the account."""
        account = await self.new_account()
        answered = await self.ask("GET", "/v1/connect/github/params", account=account)
        url, _, state = answered.json["url"].partition("&state=")
        self.assertTrue(
            url.startswith(f"{self.standin.url}/login/oauth/authorize?client_id=client&redirect_uri=")
        )
        self.assertEqual(self.server.tokens.verify_state(state), account)

    async def test_not_configured(self) -> None:
        """Without client id or callback address there is nothing to offer."""
        account = await self.new_account()
        for lacking in ("github_client_id", "github_redirect_url"):
            self.change(config=replace(self.config, **{lacking: None}))
            answered = await self.ask("GET", "/v1/connect/github/params", account=account)
            self.assertEqual(
                (answered.status, answered.json), (400, {"error": "GitHub OAuth not configured"})
            )


class ConnectTests(GitHubCase):
    async def test_connected(self) -> None:
        """Names, picture and sealed token are stored, and the devices hear of a profile they accept."""
        account = await self.new_account()
        await self.connect(account)
        self.assertEqual(self.row(account), ("1", "octocat", "Mona", "Lisa Octocat"))
        self.assertEqual(self.token(account), "gho_1")
        (told,) = self.told(account)
        avatar = told.pop("avatar")
        self.assertEqual(
            told,
            {
                "t": "update-account",
                "id": account,
                "github": {
                    "id": 1,
                    "login": "octocat",
                    "name": "Mona Lisa Octocat",
                    "bio": None,
                    "avatar_url": f"{self.standin.url}/picture?u=1",
                },
                "username": "octocat",
                "firstName": "Mona",
                "lastName": "Lisa Octocat",
            },
        )
        path = avatar["path"]
        self.assertRegex(path, f"^public/users/{account}/avatars/github_[0-9A-Za-z]{{24}}\\.png$")
        self.assertEqual((avatar["width"], avatar["height"]), (20, 10))
        self.assertEqual(avatar["url"], f"http://happy.test/files/{path}")
        stored = await self.server.objects.file(path)
        assert stored is not None
        self.assertEqual(stored.read_bytes(), picture())
        profile = (await self.ask("GET", "/v1/account/profile", account=account)).json
        self.assertEqual((profile["avatar"], profile["github"]), (avatar, told["github"]))

    async def test_picture_is_shared(self) -> None:
        """A picture that is known by its address is not fetched again, whoever it was stored for."""
        first, second = await self.new_account(), await self.new_account()
        await self.connect(first)
        self.be(2, "hubot", avatar_url=f"{self.standin.url}/picture?u=1")
        await self.connect(second, "hubot")
        self.assertEqual([asked.path for asked in self.standin.asked].count("/picture"), 1)
        (one,), (other,) = self.told(first), self.told(second)
        self.assertEqual(one["avatar"], other["avatar"])

    async def test_no_picture(self) -> None:
        """A picture that cannot be had, or is none, does not stand in the way (D37)."""
        for number, reply in enumerate((answer(b"GIF89a"), answer(b"", 404), None, answer(b"x" * 10)), 1):
            self.answers["/picture"] = reply
            account = await self.new_account()
            self.be(number, f"u{number}")
            await self.connect(account, f"u{number}")
            (told,) = self.told(account)
            self.assertEqual((told["username"], "avatar" in told), (f"u{number}", False))

    async def test_picture_elsewhere(self) -> None:
        """A picture at a place that is not trusted is left out, and the place not asked."""
        for url in ("http://127.0.0.1:1/x", "file:///etc/passwd", "", None, 5):
            account = await self.new_account()
            self.be(1, "octocat", avatar_url=url)
            await self.connect(account)
        self.assertNotIn("/picture", [asked.path for asked in self.standin.asked])

    async def test_again(self) -> None:
        """Connecting the same user again refreshes profile and token, and tells nobody (D37)."""
        account = await self.new_account()
        await self.connect(account)
        self.told(account)
        self.be(1, "octocat", bio="New", name="Another Name")
        self.answers["/login/oauth/access_token"] = answer({"access_token": "gho_2"})
        await self.connect(account)
        self.assertEqual(self.token(account), "gho_2")
        self.assertEqual(self.told(account), [])
        self.assertEqual(self.row(account), ("1", "octocat", "Mona", "Lisa Octocat"))
        profile = (await self.ask("GET", "/v1/account/profile", account=account)).json
        self.assertEqual(profile["github"]["bio"], "New")

    async def test_moves_here(self) -> None:
        """A user that another account had is taken from it, and both hear of that."""
        former, account = await self.new_account(), await self.new_account()
        await self.connect(former)
        self.told(former)
        await self.connect(account)
        self.assertEqual(self.row(former), (None, None, "Mona", "Lisa Octocat"))
        self.assertEqual(self.row(account)[:2], ("1", "octocat"))
        self.assertEqual(
            self.told(former), [{"t": "update-account", "id": former, "github": None, "username": None}]
        )
        self.assertEqual([told["username"] for told in self.told(account)], ["octocat"])
        self.assertEqual(self.token(account), "gho_1")

    async def test_stale_username(self) -> None:
        """A login that now belongs to another user is taken from the account that still has it (D37)."""
        stale, account = await self.new_account(), await self.new_account()
        await self.connect(stale)
        self.told(stale)
        self.be(2, "octocat")
        await self.connect(account)
        self.assertEqual(self.row(stale)[:2], ("1", None))
        self.assertEqual(self.row(account)[:2], ("2", "octocat"))
        self.assertEqual(self.told(stale), [{"t": "update-account", "id": stale, "username": None}])

    async def test_another_user(self) -> None:
        """An account that connects another user forgets the former one and its token."""
        account = await self.new_account()
        await self.connect(account)
        self.be(2, "hubot")
        await self.connect(account, "hubot")
        self.assertEqual(self.row(account)[:2], ("2", "hubot"))
        self.assertEqual(self.users(), ["2"])

    async def test_several_at_once(self) -> None:
        """Accounts that connect the same user at once end with exactly one of them connected."""
        accounts = [await self.new_account() for _ in range(3)]
        answers = await gatherResults([Deferred.fromCoroutine(self.come_back(one)) for one in accounts])
        self.assertEqual(set(answers), {"?github=connected&user=octocat"})
        linked = [account for account in accounts if self.row(account)[0] is not None]
        self.assertEqual(len(linked), 1)
        self.assertEqual(self.token(linked[0]), "gho_1")
        for account in accounts:
            seqs = self.hub.seqs(account)
            self.assertEqual(seqs, list(range(1, len(seqs) + 1)))

    async def test_login_is_encoded(self) -> None:
        """Whatever the login, it is one value of the app's address."""
        account = await self.new_account()
        self.be(1, "a&b=c#d e")
        self.assertEqual(await self.come_back(account), "?github=connected&user=a%26b%3Dc%23d%20e")


class FailureTests(GitHubCase):
    async def test_state(self) -> None:
        """A state that is invalid or was used before connects nothing."""
        account = await self.new_account()
        state = self.server.tokens.issue_state(account)
        for wrong in ("x", state[:-2], self.server.tokens.issue(account)):
            self.assertEqual(await self.come_back(account, wrong), "?error=invalid_state")
        self.assertEqual(await self.come_back(account, state), "?github=connected&user=octocat")
        self.assertEqual(await self.come_back(account, state), "?error=invalid_state")

    async def test_not_configured(self) -> None:
        """Without the app's secret no code can be exchanged."""
        outgoing = Outgoing("github", reactor, Metrics(CollectorRegistry()))
        self.change(github=GitHub(outgoing, Pictures(outgoing, reactor), client_id="a", client_secret=None))
        self.assertEqual(await self.come_back(await self.new_account()), "?error=server_config")

    async def test_refused_by_the_user(self) -> None:
        """When the user says no, the app is told GitHub's reason (D37)."""
        answered = await self.ask(
            "GET", "/v1/connect/github/callback?error=access_denied&state=s&error_uri=u"
        )
        self.assertEqual(self.destination(answered), "?error=access_denied")
        answered = await self.ask("GET", "/v1/connect/github/callback?error=a%26b%3D%0D%0A")
        self.assertEqual(self.destination(answered), "?error=a%26b%3D%0D%0A")

    async def test_missing_parameters(self) -> None:
        """A callback without code or state is invalid."""
        text = "Invalid input: expected string, received undefined"
        for query, message in (
            ("", f"querystring/code {text}, querystring/state {text}"),
            ("?code=c", f"querystring/state {text}"),
            ("?state=s", f"querystring/code {text}"),
        ):
            answered = await self.ask("GET", f"/v1/connect/github/callback{query}")
            self.assertEqual((answered.status, answered.json["message"]), (400, message))

    async def test_third_party_fails(self) -> None:
        """Whatever GitHub does wrong, the browser goes back to the app and nothing is stored."""
        account = await self.new_account()
        exchange, user = self.answers["/login/oauth/access_token"], self.answers["/user"]
        for first, second, expected in (
            (answer({"error": "bad code&x"}), user, "bad%20code%26x"),
            (answer({"error": "x"}, 500), user, "server_error"),
            (answer(b"<html>"), user, "server_error"),
            (None, user, "server_error"),
            (exchange, answer({}, 403), "github_user_fetch_failed"),
            (exchange, answer(b"", 302, {"Location": "/user"}), "github_user_fetch_failed"),
            (exchange, answer({"id": 1}), "server_error"),
            (exchange, answer({"id": 1, "login": "a\u0000"}), "server_error"),
            (exchange, None, "server_error"),
        ):
            self.answers |= {"/login/oauth/access_token": first, "/user": second}
            self.assertEqual(await self.come_back(account), f"?error={expected}")
        self.assertEqual(self.row(account), (None, None, None, None))
        self.assertEqual((self.users(), self.told(account)), ([], []))

    async def test_vanished_account(self) -> None:
        """A state of an account that is gone connects nothing."""
        self.assertEqual(await self.come_back("vanished"), "?error=server_error")
        self.assertEqual(self.users(), [])


class DisconnectTests(GitHubCase):
    async def test_disconnected(self) -> None:
        """User, token and username go, names stay, and the devices hear of it once."""
        account = await self.new_account()
        await self.connect(account)
        self.told(account)
        for _ in range(2):
            answered = await self.ask("DELETE", "/v1/connect/github", account=account)
            self.assertEqual((answered.status, answered.json), (200, {"success": True}))
        self.assertEqual(self.row(account), (None, None, "Mona", "Lisa Octocat"))
        self.assertEqual(self.users(), [])
        self.assertEqual(
            self.told(account), [{"t": "update-account", "id": account, "github": None, "username": None}]
        )


class WebhookTests(GitHubCase):
    async def post(self, content: bytes, signature: str | None = None, **request: Any) -> Answered:
        headers = {"x-hub-signature-256": signature, "x-github-event": "push"} if signature else {}
        return await self.ask(
            "POST", "/v1/connect/github/webhook", content=content, headers=headers, **request
        )

    async def test_signed(self) -> None:
        """An event that carries GitHub's signature is received."""
        content = b'{ "ref" : "main" }'
        signature = "sha256=" + hmac.new(b"hook", content, hashlib.sha256).hexdigest()
        answered = await self.post(content, signature)
        self.assertEqual((answered.status, answered.json), (200, {"received": True}))

    async def test_wrong_signature(self) -> None:
        """An event with another signature is refused as such (D29)."""
        answered = await self.post(b"{}", "sha256=00")
        self.assertEqual((answered.status, answered.json), (401, {"error": "Invalid signature"}))

    async def test_order_of_checks(self) -> None:
        """Headers come first, then the body, then the configuration."""
        text = "Invalid input: expected string, received undefined"
        answered = await self.post(b"{}")
        self.assertEqual(answered.status, 400)
        self.assertEqual(
            answered.json["message"],
            f"headers/x-hub-signature-256 {text}, headers/x-github-event {text}",
        )
        self.change(config=Config())
        answered = await self.post(b"", "sha256=00")
        self.assertEqual((answered.status, answered.json), (500, {"error": "Server configuration error"}))
        answered = await self.post(b"{}", "sha256=00")
        self.assertEqual((answered.status, answered.json), (500, {"error": "Webhooks not configured"}))

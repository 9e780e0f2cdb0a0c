"""Connecting with GitHub, on a real database, with a stand-in for GitHub on a real socket."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from happy.capabilities.github import split_name
from happy.metrics import Metrics
from happy.outbound.github import GitHub
from happy.outbound.http import Outgoing
from happy.outbound.images import Pictures
from tests.capabilities.github_case import GitHubCase, picture
from tests.outbound.standin import Asked, answer


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
        stored = await self.server.objects.file(path, owner="")
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

    async def test_one_at_a_time(self) -> None:
        """Of an account one connecting is under way: those of others need not wait for a slow GitHub."""
        both: Deferred[None] = Deferred()

        def keep_silent(asked: Asked, transport: Any) -> None:
            if len(self.standin.asked) == 2:
                both.callback(None)

        self.standin.script = keep_silent
        greedy, other = [await self.new_account() for _ in range(2)]
        answers = []
        for account in (*[greedy] * 10, other):
            state = self.server.tokens.issue_state(account)
            target = f"/v1/connect/github/callback?code={account}&state={state}"
            answers.append(Deferred.fromCoroutine(self.ask("GET", target)))
        await both
        codes = sorted(json.loads(asked.body)["code"] for asked in self.standin.asked)
        self.assertEqual(codes, sorted((greedy, other)))
        self.standin.hang_up()
        self.assertEqual({answered.status for answered in await gatherResults(answers)}, {302})

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

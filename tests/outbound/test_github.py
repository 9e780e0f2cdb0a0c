"""GitHub's interfaces, as documented and otherwise."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from happy.metrics import Metrics
from happy.outbound.github import Denied, GitHub
from happy.outbound.http import CallFailed, Outgoing, Rejected
from happy.outbound.images import NotAPicture, Pictures
from happy.settings.config import Config
from tests.outbound.standin import Asked, StandIn, answer

USER = {
    "login": "octocat",
    "id": 583231,
    "avatar_url": "https://avatars.githubusercontent.com/u/583231?v=4",
    "name": "The Octocat",
    "email": None,
    "bio": None,
    "plan": {"name": "free", "space": 976562499},
}


def only(*replies: bytes) -> Any:
    """A script that gives the replies in order."""
    left = list(replies)
    return lambda asked, _: left.pop(0)


class GitHubTests(TestCase):
    def github(self, script: Any) -> GitHub:
        self.standin = standin = StandIn(script)
        self.addCleanup(lambda: Deferred.fromCoroutine(standin.close()))
        outgoing = Outgoing("github", reactor, Metrics(CollectorRegistry()))
        return GitHub(
            outgoing,
            Pictures(outgoing, reactor),
            client_id="id",
            client_secret="hush",
            site=self.standin.url,
            api=f"{self.standin.url}/api",
        )

    def asked(self) -> Asked:
        (asked,) = self.standin.asked
        return asked

    def test_authorize_url(self) -> None:
        """The browser's address has the four members in the contract's order and encoding."""
        metrics = Metrics(CollectorRegistry())
        github = GitHub.from_config(Config(github_client_id="the id"), reactor, metrics)
        url = github.authorize_url("https://h.example/cb?x=1&y", "st.a-te")
        self.assertEqual(
            url,
            "https://github.com/login/oauth/authorize?client_id=the+id"
            "&redirect_uri=https%3A%2F%2Fh.example%2Fcb%3Fx%3D1%26y"
            "&scope=read%3Auser%2Cuser%3Aemail%2Cread%3Aorg%2Ccodespace&state=st.a-te",
        )
        self.assertEqual([name for name, _ in parse_qsl(urlsplit(url).query)][-1], "state")

    def test_configured(self) -> None:
        """Codes can be exchanged with both client id and secret."""
        metrics = Metrics(CollectorRegistry())
        for settings, expected in (
            ({}, False),
            ({"github_client_id": "a"}, False),
            ({"github_client_id": "a", "github_client_secret": "b"}, True),
        ):
            github = GitHub.from_config(Config(**settings), reactor, metrics)
            self.assertEqual(github.configured, expected)

    async def test_exchange(self) -> None:
        """A code is exchanged for a token with id and secret."""
        github = self.github(only(answer({"access_token": "gho_x", "token_type": "bearer", "scope": ""})))
        self.assertEqual(await github.exchange('c"&=ode'), "gho_x")
        self.assertEqual(self.asked().method, "POST")
        self.assertEqual(self.asked().target, "/login/oauth/access_token")
        self.assertEqual(self.asked().headers["accept"], "application/json")
        self.assertEqual(
            json.loads(self.asked().body), {"client_id": "id", "client_secret": "hush", "code": 'c"&=ode'}
        )

    async def test_denied(self) -> None:
        """A used or wrong code is denied, with GitHub's word for it."""
        github = self.github(
            only(answer({"error": "bad_verification_code", "error_description": "...", "error_uri": "..."}))
        )
        with self.assertRaises(Denied) as raised:
            await github.exchange("code")
        self.assertEqual(raised.exception.error, "bad_verification_code")

    async def test_no_grant(self) -> None:
        """An answer with neither token nor error, or with something else instead, is malformed."""
        replies = [
            {},
            {"access_token": ""},
            {"access_token": None},
            {"error": ["x"]},
            {"error": "x" * 201},
            [],
        ]
        github = self.github(only(*(answer(reply) for reply in replies)))
        for _ in replies:
            with self.assertRaises(CallFailed) as raised:
                await github.exchange("code")
            self.assertEqual(raised.exception.outcome, "malformed")

    async def test_user(self) -> None:
        """A user is asked for with the token, and the whole object is kept."""
        github = self.github(only(answer(USER)))
        user = await github.user("gho_x")
        self.assertEqual((user.id, user.login, user.name), ("583231", "octocat", "The Octocat"))
        self.assertEqual(user.avatar_url, USER["avatar_url"])
        self.assertEqual(user.profile, USER)
        self.assertEqual(self.asked().target, "/api/user")
        self.assertEqual(self.asked().headers["authorization"], "Bearer gho_x")
        self.assertEqual(self.asked().headers["accept"], "application/vnd.github.v3+json")

    async def test_token_cannot_add_headers(self) -> None:
        """A token that a liar made of several lines stays within its header."""
        github = self.github(only(answer(USER)))
        await github.user("x\r\nX-Evil: 1\r\n\r\n")
        self.assertNotIn("x-evil", self.asked().headers)

    async def test_user_with_odd_members(self) -> None:
        """Names and addresses that are no texts count as absent."""
        github = self.github(only(answer({"id": 1, "login": "o", "name": 5, "avatar_url": {}})))
        user = await github.user("t")
        self.assertEqual((user.name, user.avatar_url), (None, None))

    async def test_no_user(self) -> None:
        """An object that does not say who it is, is malformed."""
        replies = [{}, {"id": 1}, {"id": 1, "login": ""}, {"id": "1", "login": "o"}, {"id": 0, "login": "o"}]
        replies += [{"id": 2**70, "login": "o"}, {"id": True, "login": "o"}, {"id": 1, "login": "o" * 201}]
        github = self.github(only(*(answer(reply) for reply in replies), answer([]), answer(b"<html>")))
        for _ in range(len(replies) + 2):
            with self.assertRaises(CallFailed) as raised:
                await github.user("t")
            self.assertEqual(raised.exception.outcome, "malformed")

    async def test_refused_user(self) -> None:
        """A refusal tells its status."""
        github = self.github(only(answer({"message": "Bad credentials"}, 401)))
        with self.assertRaises(Rejected) as raised:
            await github.user("t")
        self.assertEqual(raised.exception.status, 401)

    async def test_pictures_are_guarded(self) -> None:
        """Out of the box, pictures come from GitHub's own hosts only."""
        github = self.github(only())
        with self.assertRaises(NotAPicture):
            await github.picture(self.standin.url + "/u/1")
        self.assertEqual(self.standin.asked, [])

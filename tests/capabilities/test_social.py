"""Friendships and looking at others, on a real database."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults

from happy.api.rate_limits import FRIEND_REQUESTS
from happy.capabilities.social import befriended, parted
from happy.realtime.updates import FriendRequest
from happy.storage.relationships import Pair, Status, literally
from happy.storage.retention import REMOVED, hide
from tests.capabilities.asking import CapabilityCase
from tests.harness import psql

STATUSES: list[Status | None] = [None, "none", "requested", "pending", "friend", "rejected"]
pairs = st.builds(Pair, st.sampled_from(STATUSES), st.sampled_from(STATUSES))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Pair(None, None), Pair("requested", "pending")),
        (Pair("none", "none"), Pair("requested", "pending")),
        (Pair("rejected", "none"), Pair("requested", "pending")),
        (Pair("none", "rejected"), Pair("requested", "rejected")),
        (Pair("none", "friend"), Pair("requested", "friend")),
        (Pair("pending", "requested"), Pair("friend", "friend")),
        (Pair("rejected", "requested"), Pair("friend", "friend")),
        (Pair(None, "requested"), Pair("friend", "friend")),
        (Pair("requested", "pending"), Pair("requested", "pending")),
        (Pair("pending", "rejected"), Pair("pending", "rejected")),
        (Pair("friend", "friend"), Pair("friend", "friend")),
    ],
)
def test_asking(before: Pair, after: Pair) -> None:
    """The contract's table of asking (F3)."""
    assert befriended(before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Pair("requested", "pending"), Pair("rejected", "none")),
        (Pair("requested", "rejected"), Pair("rejected", "rejected")),
        (Pair("friend", "friend"), Pair("pending", "requested")),
        (Pair("friend", "rejected"), Pair("pending", "requested")),
        (Pair("pending", "requested"), Pair("none", "none")),
        (Pair("pending", "rejected"), Pair("none", "rejected")),
        (Pair("pending", None), Pair("none", None)),
        (Pair("none", "friend"), Pair("none", "friend")),
        (Pair("rejected", "pending"), Pair("rejected", "pending")),
        (Pair(None, None), Pair(None, None)),
    ],
)
def test_parting(before: Pair, after: Pair) -> None:
    """The contract's table of removing (F4), with nothing left pending after a withdrawal (D38)."""
    assert parted(before) == after


@given(pairs)
def test_rows_never_vanish(pair: Pair) -> None:
    """A row that is there stays there, and only friends of each other come out of an acceptance."""
    for after in (befriended(pair), parted(pair)):
        assert (pair.mine is None) or (after.mine is not None)
        assert (pair.theirs is None) or (after.theirs is not None)
    if pair.theirs == "requested":
        assert befriended(pair) == ("friend", "friend")


@given(pairs)
def test_asking_twice(pair: Pair) -> None:
    """Asking again changes nothing, unless the other one has asked as well in between."""
    once = befriended(pair)
    assert befriended(once) == once


@pytest.mark.parametrize(("text", "pattern"), [("a_b", r"a\_b"), ("100%", r"100\%"), ("\\", "\\\\")])
def test_literal_patterns(text: str, pattern: str) -> None:
    """What LIKE gives a meaning to loses it."""
    assert literally(text) == pattern


class SocialCase(CapabilityCase):
    """Accounts that relate to each other."""

    async def add(self, me: str, other: str) -> Any:
        answer = await self.ask("POST", "/v1/friends/add", {"uid": other}, account=me)
        self.assertEqual(answer.status, 200, answer.content)
        return answer.json["user"]

    async def remove(self, me: str, other: str) -> Any:
        answer = await self.ask("POST", "/v1/friends/remove", {"uid": other}, account=me)
        self.assertEqual(answer.status, 200, answer.content)
        return answer.json["user"]

    async def friends(self, me: str) -> list[tuple[str, str]]:
        answer = await self.ask("GET", "/v1/friends", account=me)
        return [(friend["id"], friend["status"]) for friend in answer.json["friends"]]

    async def feed(self, me: str) -> list[Any]:
        answer = await self.ask("GET", "/v1/feed", account=me)
        return [item["body"] for item in answer.json["items"]]

    def name(self, account: str, username: str) -> None:
        psql(self.dsn, 'UPDATE "Account" SET "username" = %s WHERE "id" = %s', [username, account])

    def heard(self, account: str) -> list[Any]:
        """What the account's devices were told since the last call, in order."""
        mine = [update for update in self.hub.updates if update.audience.account == account]
        for update in mine:
            self.hub.updates.remove(update)
            self.assertEqual((update.audience.session, update.audience.machine), (None, None))
        return [update.body for update in mine]

    def changes(self, account: str) -> list[tuple[str, str, str]]:
        """The relationships that changed since the last call: the other account, status, action."""
        return [
            (body.to_user_id, body.status, body.action)
            for body in self.heard(account)
            if hasattr(body, "to_user_id")
        ]


class FriendshipTests(SocialCase):
    async def test_story(self) -> None:
        """A request is pending at the other side until its acceptance makes friends of both."""
        a, b = await self.new_account(), await self.new_account()
        asked = await self.add(a, b)
        self.assertEqual((asked["id"], asked["status"]), (b, "requested"))
        self.assertEqual(await self.friends(a), [(b, "requested")])
        self.assertEqual(await self.friends(b), [(a, "pending")])
        accepted = await self.add(b, a)
        self.assertEqual((accepted["id"], accepted["status"]), (a, "friend"))
        self.assertEqual(await self.friends(a), [(b, "friend")])
        self.assertEqual(await self.friends(b), [(a, "friend")])
        rows = psql(
            self.dsn,
            'SELECT "status", "acceptedAt" = "updatedAt" FROM "UserRelationship" '
            'WHERE "fromUserId" = ANY (%s)',
            [[a, b]],
        )
        self.assertEqual(rows, [("friend", True), ("friend", True)])

    async def test_devices_hear_of_their_own_side(self) -> None:
        """Each account hears how its own row changed, and nothing when nothing did (D38)."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(a, b)
        self.assertEqual(self.changes(a), [(b, "requested", "created")])
        self.assertEqual(self.changes(b), [(a, "pending", "created")])
        await self.add(a, b)
        self.assertEqual((self.heard(a), self.heard(b)), ([], []))
        await self.add(b, a)
        self.assertEqual(self.changes(a), [(b, "friend", "updated")])
        self.assertEqual(self.changes(b), [(a, "friend", "updated")])
        await self.remove(a, b)
        self.assertEqual(self.changes(a), [(b, "pending", "updated")])
        self.assertEqual(self.changes(b), [(a, "requested", "updated")])
        await self.remove(a, b)
        self.assertEqual(self.changes(a), [(b, "none", "deleted")])
        self.assertEqual(self.changes(b), [(a, "none", "deleted")])

    async def test_ending_a_friendship(self) -> None:
        """Ending a friendship answers with the status that is stored (D38)."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(a, b)
        await self.add(b, a)
        self.assertEqual((await self.remove(a, b))["status"], "pending")
        self.assertEqual(await self.friends(a), [(b, "pending")])
        self.assertEqual(await self.friends(b), [(a, "requested")])

    async def test_withdrawing(self) -> None:
        """A withdrawn request leaves nothing in either list (D38), and may be made again."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(a, b)
        self.assertEqual((await self.remove(a, b))["status"], "rejected")
        self.assertEqual((await self.friends(a), await self.friends(b)), ([], []))
        self.assertEqual((await self.add(a, b))["status"], "requested")

    async def test_impossible_people(self) -> None:
        """Oneself, unknown people and people with impossible ids cannot be asked or removed."""
        a = await self.new_account()
        for nobody in ("nobody", "", "x" * 5000, "'\";--", "\0", "\ud800"):
            self.assertIsNone(await self.add(a, nobody))
            self.assertIsNone(await self.remove(a, nobody))
        self.assertIsNone(await self.add(a, a))
        self.assertEqual((await self.remove(a, a))["status"], "none")
        self.assertEqual(self.heard(a), [])

    async def test_who_has_removed_sessions(self) -> None:
        """The account that has sessions until their rows are gone is nobody's to look at, or to ask."""
        a = await self.new_account()
        await self.database.transact(lambda tx: hide(tx, "none"), accounts=[a])
        self.addCleanup(psql, self.dsn, f"""DELETE FROM "Account" WHERE "id" = '{REMOVED}'""")
        self.assertEqual((await self.add(a, REMOVED), await self.remove(a, REMOVED)), (None, None))
        self.assertEqual((await self.ask("GET", f"/v1/user/{REMOVED}", account=a)).status, 404)
        self.assertEqual(await self.friends(a), [])

    async def test_vanished_caller(self) -> None:
        """An account that is gone asks nobody, and can look at those who are there."""
        a = await self.new_account()
        self.assertIsNone(await self.add("vanished", a))
        self.assertEqual((await self.remove("vanished", a))["status"], "none")
        self.assertEqual(await self.friends("vanished"), [])
        self.assertEqual(self.heard(a), [])

    async def test_simultaneous_requests(self) -> None:
        """Two who ask each other at the same moment end as friends, whoever came first."""
        for _ in range(5):
            a, b = await self.new_account(), await self.new_account()
            asking = [Deferred.fromCoroutine(self.add(*two)) for two in ((a, b), (b, a))]
            answers = await gatherResults(asking)
            self.assertEqual(sorted(user["status"] for user in answers), ["friend", "requested"])
            self.assertEqual(
                (await self.friends(a), await self.friends(b)), ([(b, "friend")], [(a, "friend")])
            )

    async def test_too_many_changes(self) -> None:
        """An account may change so many friendships a minute; what was refused tells nobody anything."""
        ann, bob = [await self.new_account() for _ in range(2)]
        statuses = []
        for _ in range(FRIEND_REQUESTS // 2 + 1):
            for path in ("/v1/friends/add", "/v1/friends/remove"):
                statuses.append((await self.ask("POST", path, {"uid": bob}, account=ann)).status)
        self.assertEqual(statuses, [200] * FRIEND_REQUESTS + [429] * 2)
        told = len(self.hub.seqs(bob))
        answer = await self.ask("POST", "/v1/friends/add", {"uid": bob}, account=ann)
        self.assertEqual(answer.json, {"error": "Too many requests. Try again in a minute."})
        self.assertEqual(len(self.hub.seqs(bob)), told)
        self.assertEqual((await self.ask("POST", "/v1/friends/add", {"uid": ann}, account=bob)).status, 200)

    async def test_ring_of_requests(self) -> None:
        """Many who ask each other at the same time do not get in each other's way."""
        people = [await self.new_account() for _ in range(6)]
        asking = [
            Deferred.fromCoroutine(self.add(me, other)) for me in people for other in people if me != other
        ]
        await gatherResults(asking)
        for me in people:
            others = sorted((other, "friend") for other in people if other != me)
            self.assertEqual(sorted(await self.friends(me)), others)
            seqs = self.hub.seqs(me)
            self.assertEqual(seqs, list(range(1, len(seqs) + 1)))


class NotificationTests(SocialCase):
    async def test_request_and_acceptance(self) -> None:
        """The asked one hears of the request, the asking one of the acceptance; the acceptor is spared."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(a, b)
        self.assertEqual(await self.feed(a), [])
        self.assertEqual(await self.feed(b), [{"kind": "friend_request", "uid": a}])
        await self.add(b, a)
        self.assertEqual(await self.feed(a), [{"kind": "friend_accepted", "uid": b}])
        self.assertEqual(await self.feed(b), [{"kind": "friend_request", "uid": a}])

    async def test_announcement(self) -> None:
        """A new item is announced to its owner with its replace key (D10)."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(a, b)
        (post,) = (body for body in self.heard(b) if hasattr(body, "repeat_key"))
        (item,) = (await self.ask("GET", "/v1/feed", account=b)).json["items"]
        self.assertEqual(
            item,
            {
                "id": post.id,
                "body": {"kind": "friend_request", "uid": a},
                "repeatKey": f"friend_request_{a}",
                "cursor": "0-1",
                "createdAt": post.created_at,
            },
        )
        self.assertEqual(
            (post.body, post.repeat_key, post.cursor), (FriendRequest(a), item["repeatKey"], "0-1")
        )

    async def test_once_a_day(self) -> None:
        """A request that is withdrawn and made again is told again after a day, in the old one's place."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(a, b)
        for hours, cursors in ((23, ["0-1"]), (25, ["0-2"])):
            await self.remove(a, b)
            psql(
                self.dsn,
                'UPDATE "UserRelationship" SET "lastNotifiedAt" = '
                '"lastNotifiedAt" - make_interval(hours => %s) WHERE "fromUserId" = %s',
                [hours, b],
            )
            await self.add(a, b)
            items = (await self.ask("GET", "/v1/feed", account=b)).json["items"]
            self.assertEqual([item["cursor"] for item in items], cursors)

    async def test_both_hear_of_an_acceptance_a_day_later(self) -> None:
        """When the request was long ago, the acceptance is told to both."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(a, b)
        psql(
            self.dsn,
            'UPDATE "UserRelationship" SET "lastNotifiedAt" = "lastNotifiedAt" - interval \'25 hours\' '
            'WHERE "fromUserId" = %s',
            [b],
        )
        await self.add(b, a)
        self.assertEqual(await self.feed(a), [{"kind": "friend_accepted", "uid": b}])
        self.assertEqual(
            await self.feed(b),
            [{"kind": "friend_accepted", "uid": a}, {"kind": "friend_request", "uid": a}],
        )

    async def test_rejecting_one_is_left_alone(self) -> None:
        """Whoever rejected an account is not notified about it."""
        a, b = await self.new_account(), await self.new_account()
        await self.add(b, a)
        await self.remove(b, a)
        self.assertEqual((await self.add(a, b))["status"], "requested")
        self.assertEqual(await self.feed(b), [])


class LookingTests(SocialCase):
    async def test_profile(self) -> None:
        """A profile tells names, picture, biography, and how the viewer relates to the account."""
        a, b = await self.new_account(), await self.new_account()
        psql(
            self.dsn,
            'INSERT INTO "GithubUser" ("id", "profile", "updatedAt") VALUES (%s, %s, now())',
            [b, '{"login": "octo", "bio": "Hi"}'],
        )
        psql(
            self.dsn,
            'UPDATE "Account" SET "githubUserId" = "id", "firstName" = %s, "lastName" = %s, "avatar" = %s '
            'WHERE "id" = %s',
            ["Ada", "L", '{"path": "public/a.png", "width": 2, "height": 3, "thumbhash": "AA=="}', b],
        )
        await self.add(a, b)
        answer = await self.ask("GET", f"/v1/user/{b}", account=a)
        self.assertEqual(
            answer.json["user"],
            {
                "id": b,
                "firstName": "Ada",
                "lastName": "L",
                "avatar": {
                    "path": "public/a.png",
                    "url": "http://happy.test/files/public/a.png",
                    "width": 2,
                    "height": 3,
                    "thumbhash": "AA==",
                },
                "username": "octo",
                "bio": "Hi",
                "status": "requested",
            },
        )
        self.assertEqual(
            (await self.ask("GET", f"/v1/user/{a}", account=b)).json["user"]["status"], "pending"
        )

    async def test_unknown(self) -> None:
        """Nobody is found under an unknown id."""
        me = await self.new_account()
        for nobody in ("nobody", "", "%00"):
            answer = await self.ask("GET", f"/v1/user/{nobody}", account=me)
            self.assertEqual((answer.status, answer.json), (404, {"error": "User not found"}))

    async def search(self, me: str, query: str) -> list[str]:
        answer = await self.ask("GET", f"/v1/user/search?query={query}", account=me)
        return [user["username"] for user in answer.json["users"]]

    async def test_search(self) -> None:
        """Usernames are found by their beginning, whatever the case, in order, at most ten."""
        me = await self.new_account()
        for number in range(12):
            self.name(await self.new_account(), f"Finder{number:02}")
        self.name(await self.new_account(), "other-finder")
        found = await self.search(me, "fINDER")
        self.assertEqual(found, [f"Finder{number:02}" for number in range(10)])

    async def test_search_is_literal(self) -> None:
        """Wildcards are characters like any other, and an empty text finds nobody (D13)."""
        me = await self.new_account()
        self.name(await self.new_account(), "lit_eral%x")
        self.name(await self.new_account(), "litXeral")
        self.assertEqual(await self.search(me, "lit_"), ["lit_eral%x"])
        self.assertEqual(await self.search(me, "lit_eral%25"), ["lit_eral%x"])
        self.assertEqual(await self.search(me, "%25"), [])
        self.assertEqual(await self.search(me, "%5C"), [])
        for nothing in ("", "%00", "lit_%00"):
            self.assertEqual(await self.search(me, nothing), [])

    async def test_search_needs_a_query(self) -> None:
        """Without the query parameter the request is invalid."""
        answer = await self.ask("GET", "/v1/user/search", account=await self.new_account())
        self.assertEqual(answer.status, 400)
        self.assertEqual(
            answer.json["message"], "querystring/query Invalid input: expected string, received undefined"
        )

"""Looking at other accounts, and being friends with them (http.md 6.14).

Each of two accounts has a row of its own about the other. Whoever's row changes is told so, and new
friendships and requests enter the feeds.
"""

from __future__ import annotations

from collections.abc import Callable

from happy.api.declare import Caller, Capability
from happy.api.structs import Body, Key, Query, Reply
from happy.base.errors import Refusal
from happy.capabilities import feed
from happy.capabilities._profiles import UserProfile, user_profile
from happy.capabilities.server import Server
from happy.realtime.updates import FriendAccepted, FriendRequest, RelationshipUpdated, devices_of
from happy.storage import relationships
from happy.storage.relationships import Pair, Person, Status
from happy.storage.retention import REMOVED
from happy.storage.transaction import Transaction

social = Capability("social")


class UserNotFound(Refusal):
    status = 404
    error = "User not found"


class TooManyFriendRequests(Refusal):
    """The account used up the current minute's changes."""

    status = 429
    error = "Too many requests. Try again in a minute."


class Search(Query):
    query: str


class Other(Body):
    """The other account's id."""

    uid: Key


class FoundUser(Reply):
    user: UserProfile


class Users(Reply):
    users: list[UserProfile]


class Related(Reply):
    """The other account with its new status, or null where there is none to relate to."""

    user: UserProfile | None


class Friends(Reply):
    friends: list[UserProfile]


@social.get("/v1/user/search")
async def search(tx: Transaction, caller: Caller, query: Search, server: Server) -> Users:
    """The first ten accounts whose username begins with the text, whatever the case."""
    if not query.query or "\0" in query.query:
        return Users(users=[])
    return Users(users=_shown(await relationships.find(tx, caller.account, query.query), server))


@social.get("/v1/user/:id", refuses=(UserNotFound,))
async def look(tx: Transaction, caller: Caller, id: str, server: Server) -> FoundUser:
    """Any account, oneself included."""
    person = None if _nobodys(id) else await relationships.person(tx, caller.account, id)
    if person is None:
        raise UserNotFound
    return FoundUser(user=user_profile(person, server.objects.public_url))


@social.get("/v1/friends")
async def friends(tx: Transaction, caller: Caller, server: Server) -> Friends:
    """Friends and open requests of both directions, oldest first, at most 1000."""
    return Friends(friends=_shown(await relationships.friends(tx, caller.account), server))


@social.post("/v1/friends/add", refuses=(TooManyFriendRequests,))
async def add(caller: Caller, body: Other, server: Server) -> Related:
    """Ask an account to be a friend, or accept its request."""

    async def work(tx: Transaction) -> Person | None:
        if not await relationships.exists(tx, caller.account):
            return None
        return await _relate(tx, caller.account, body.uid, befriended, notify=True)

    if body.uid == caller.account or _nobodys(body.uid):
        return Related(user=None)
    _count(server, caller)
    return _related(await server.database.transact(work, accounts=[caller.account, body.uid]), server)


@social.post("/v1/friends/remove", refuses=(TooManyFriendRequests,))
async def remove(caller: Caller, body: Other, server: Server) -> Related:
    """End a friendship, withdraw a request or decline one; nobody is notified."""

    async def work(tx: Transaction) -> Person | None:
        return await _relate(tx, caller.account, body.uid, parted, notify=False)

    if _nobodys(body.uid):
        return Related(user=None)
    _count(server, caller)
    return _related(await server.database.transact(work, accounts=[caller.account, body.uid]), server)


def _count(server: Server, caller: Caller) -> None:
    """Count what somebody else is told of. Raises TooManyRequests."""
    if not server.limits.friends.admit(caller.account):
        raise TooManyFriendRequests


def befriended(pair: Pair) -> Pair:
    """The pair after I asked or accepted: an open request of theirs makes friends of both."""
    if pair.theirs == "requested":
        return Pair("friend", "friend")
    if pair.mine in (None, "none", "rejected"):
        return Pair("requested", "pending" if pair.theirs in (None, "none") else pair.theirs)
    return pair


def parted(pair: Pair) -> Pair:
    """The pair after I withdrew, ended or declined; a withdrawn request leaves nothing pending (D38)."""
    if pair.mine == "requested":
        return Pair("rejected", "none" if pair.theirs == "pending" else pair.theirs)
    if pair.mine == "friend":
        return Pair("pending", "requested")
    if pair.mine == "pending":
        return Pair("none", pair.theirs if pair.theirs in (None, "rejected") else "none")
    return pair


async def _relate(
    tx: Transaction, me: str, other: str, rule: Callable[[Pair], Pair], *, notify: bool
) -> Person | None:
    """Move the pair as ``rule`` says and tell whom it concerns; None if there is no other."""
    if not await relationships.exists(tx, other):
        return None
    before = await relationships.pair(tx, me, other)
    after = rule(before)
    await _move(tx, me, other, before.mine, after.mine)
    await _move(tx, other, me, before.theirs, after.theirs)
    if notify and after != before:
        await _notify(tx, me, other, after)
    return await relationships.person(tx, me, other)


async def _move(tx: Transaction, owner: str, other: str, before: Status | None, after: Status | None) -> None:
    """Write ``owner``'s row about ``other`` if it changes, and tell the owner's devices."""
    if after is None or after == before:
        return
    await relationships.set_status(tx, owner, other, after)
    change = RelationshipUpdated(
        uid=other,
        from_user_id=owner,
        to_user_id=other,
        status=after,
        action="created" if before is None else "deleted" if after == "none" else "updated",
        timestamp=tx.now,
    )
    tx.publish(devices_of(owner), change)


async def _notify(tx: Transaction, me: str, other: str, pair: Pair) -> None:
    """Put a request into the other's feed, or a new friendship into both, not oftener than once a day."""
    if pair.mine == "requested":
        await _tell(tx, other, FriendRequest(me))
    else:
        await _tell(tx, other, FriendAccepted(me))
        await _tell(tx, me, FriendAccepted(other))


async def _tell(tx: Transaction, user: str, news: FriendRequest | FriendAccepted) -> None:
    if await relationships.claim_notification(tx, user, news.uid):
        kind = "friend_request" if isinstance(news, FriendRequest) else "friend_accepted"
        await feed.post(tx, user, news, f"{kind}_{news.uid}")


def _nobodys(id: str) -> bool:
    """Whether nobody has the id: the database takes no U+0000, and who has removed sessions is nobody."""
    return "\0" in id or id == REMOVED


def _related(person: Person | None, server: Server) -> Related:
    return Related(user=person and user_profile(person, server.objects.public_url))


def _shown(people: list[Person], server: Server) -> list[UserProfile]:
    return [user_profile(person, server.objects.public_url) for person in people]

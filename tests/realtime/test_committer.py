"""The durable message path, on a real database."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from happy.base.errors import Overloaded, QueryFailed
from happy.realtime.message_queue import LARGE_BYTES
from happy.realtime.updates import Scope
from happy.storage.messages import IncomingMessage
from tests.realtime.clients import bodies, connect, events
from tests.realtime.committing import OVERSIZED_INDEX_KEY, CommitterCase


class CommitterTests(CommitterCase):
    async def test_stores_in_order(self) -> None:
        """Messages are numbered in the order they were handed over, across senders."""
        answers = await gatherResults([self.send((f"l{n}", f"c{n}")) for n in range(5)])
        self.assertEqual([answer[0].seq for answer in answers], [1, 2, 3, 4, 5])
        self.assertEqual(self.stored(self.session), [(n + 1, f"l{n}", f"c{n}") for n in range(5)])

    async def test_delivered_before_answered(self) -> None:
        """When an answer reveals a number, its update is on the session's sockets (D-3)."""
        watcher = connect(self.account, Scope.SESSION, self.session)
        self.hub.add(watcher)
        heard: list[int] = []
        running = [self.send((None, str(n))) for n in range(4)]
        for answer in running:
            answer.addCallback(lambda _: heard.append(len(events(watcher))))
        await gatherResults(running)
        self.assertEqual(heard, [1, 4, 4, 4])
        self.assertEqual([body["message"]["seq"] for body in bodies(watcher)], [1, 2, 3, 4])

    async def test_update(self) -> None:
        """The update holds the message as the contract shapes it."""
        watcher = connect(self.account)
        self.hub.add(watcher)
        [stored] = await self.send(("l", "sealed"))
        [(_, envelope)] = events(watcher)
        self.assertEqual(
            envelope["body"],
            {
                "t": "new-message",
                "sid": self.session,
                "message": {
                    "id": stored.id,
                    "seq": 1,
                    "content": {"t": "encrypted", "c": "sealed"},
                    "localId": "l",
                    "createdAt": stored.created_at,
                    "updatedAt": stored.updated_at,
                },
            },
        )

    async def test_sender_is_skipped(self) -> None:
        """The sending socket does not hear its own message, other sockets do."""
        sender, other = connect(self.account), connect(self.account)
        self.hub.add(sender)
        self.hub.add(other)
        await self.send((None, "x"), skip=sender.socket)
        self.assertEqual((len(events(sender)), len(events(other))), (0, 1))

    async def test_repeated_local_id(self) -> None:
        """A message sent again is answered with the stored one; it takes no number and is not announced."""
        [first] = await self.send(("l", "one"))
        watcher = connect(self.account)
        self.hub.add(watcher)
        again, new = await self.send(("l", "other"), ("m", "two"))
        self.assertEqual(again, first._replace(new=False))
        self.assertEqual((new.seq, new.new), (2, True))
        self.assertEqual([body["message"]["localId"] for body in bodies(watcher)], ["m"])
        self.assertEqual(self.stored(self.session), [(1, "l", "one"), (2, "m", "two")])

    async def test_repeated_after_what_others_stored(self) -> None:
        """Who sends a message again is answered after what was committed until now, wherever."""
        await self.send(("l", "one"))
        reached: Deferred[None] = Deferred()
        self.patch(self.hub, "current", lambda account: reached)
        again = self.send(("l", "one"))
        await self.send(("m", "two"))
        self.assertNoResult(again)
        reached.callback(None)
        [stored] = await again
        self.assertEqual((stored.seq, stored.new), (1, False))

    async def test_same_local_id_at_once(self) -> None:
        """Two senders of one local id get the same record, and one row exists."""
        [one], [other] = await gatherResults([self.send(("l", "a")), self.send(("l", "b"))])
        self.assertEqual((one.id, one.seq), (other.id, other.seq))
        self.assertEqual(sorted([one.new, other.new]), [False, True])

    async def test_unknown_and_foreign_sessions(self) -> None:
        """Messages to a session that is not the account's are not stored, and harm no other."""
        foreign = await self.new_session(await self.new_account())
        unknown, other, own = await gatherResults(
            [
                self.send(("l", "x"), session="nowhere"),
                self.send(("l", "x"), session=foreign),
                self.send(("l", "x")),
            ]
        )
        self.assertEqual((unknown, other, own[0].seq), (None, None, 1))
        self.assertEqual(self.stored(foreign), [])

    async def test_poison(self) -> None:
        """A message that the database refuses fails alone; its neighbours are stored without a gap."""
        contents = ["l0", "l1", OVERSIZED_INDEX_KEY, "l2", "l3"]
        running = [self.send((local_id, "x")) for local_id in contents]
        refused = running.pop(2)
        await self.assertFailure(refused, QueryFailed)
        outcomes = await gatherResults(running)
        self.assertEqual([outcome[0].seq for outcome in outcomes], [1, 2, 3, 4])
        self.assertEqual([row[0] for row in self.stored(self.session)], [1, 2, 3, 4])

    async def test_poison_fails_its_request_as_a_whole(self) -> None:
        """Of the messages sent together, none is stored when one is refused."""
        await self.assertFailure(self.send(("a", "x"), (OVERSIZED_INDEX_KEY, "x")), QueryFailed)
        self.assertEqual(self.stored(self.session), [])

    async def test_settled(self) -> None:
        """A reader that waits for the batch in flight finds its updates delivered."""
        watcher = connect(self.account)
        self.hub.add(watcher)
        running = self.send((None, "x"))
        for elsewhere in ((self.account, "another session"), ("another account", None)):
            self.assertTrue(self.committer.settled(*elsewhere).called)
        readers = [self.committer.settled(self.account, self.session), self.committer.settled(self.account)]
        self.assertFalse(any(reader.called for reader in readers))
        await gatherResults(readers)
        self.assertEqual(len(events(watcher)), 1)
        await running

    async def test_busy_accounts_stand_aside(self) -> None:
        """Messages of an account that somebody holds wait; those of others do not."""
        account = await self.new_account()
        session = await self.new_session(account)
        release = await self.database.linearizer.acquire([self.account])
        waiting = [self.send((str(n), "x")) for n in range(2)]
        for number in range(3):
            await self.committer.append(account, session, [IncomingMessage(str(number), "x")])
        self.assertEqual(self.stored(self.session), [])
        release()
        answers = await gatherResults(waiting)
        self.assertEqual([answer[0].seq for answer in answers], [1, 2])

    async def test_next_batch_leaves_before_the_answers(self) -> None:
        """PostgreSQL works on a batch while the one before is answered; its answers are not held up."""
        account = await self.new_account()
        session = await self.new_session(account)
        under_way: list[bool] = []
        first = self.send((None, "x"))
        first.addCallback(lambda _: under_way.append(not self.committer.settled(account, session).called))
        second = self.committer.append(account, session, [IncomingMessage(None, "y")])
        await gatherResults([first, second])
        self.assertEqual(under_way, [True])

    async def test_stop_commits_what_is_queued(self) -> None:
        """Stopping waits for every queued message."""
        running = [self.send((None, "x")) for _ in range(3)]
        await self.committer.stop()
        self.assertTrue(all(answer.called for answer in running))
        self.assertEqual(len(self.stored(self.session)), 3)

    async def test_stop_waits_for_a_busy_account(self) -> None:
        """What nothing is done about yet, because somebody else holds its account, is stored as well."""
        release = await self.database.linearizer.acquire([self.account])
        running = self.send((None, "x"))
        stopping = self.committer.stop()
        self.assertFalse(stopping.called)
        release()
        await stopping
        await running
        self.assertEqual([row[2] for row in self.stored(self.session)], ["x"])

    async def test_after_the_stop(self) -> None:
        """What comes when the committer stops, or has stopped, is refused; nothing is stored of it."""
        running = self.send((None, "x"))
        stopping = self.committer.stop()
        await self.assertFailure(self.send((None, "late")), Overloaded)
        await stopping
        await running
        await self.assertFailure(self.send((None, "later")), Overloaded)
        self.assertEqual([row[2] for row in self.stored(self.session)], ["x"])

    async def test_large_ones_go_aside(self) -> None:
        """What is large keeps its order in its own account, and keeps nobody else waiting."""
        account = await self.new_account()
        session = await self.new_session(account)
        large = "x" * (LARGE_BYTES + 1)
        order: list[str] = []

        def note(answer: Deferred[Any], what: str) -> Deferred[Any]:
            return answer.addCallback(lambda stored: (order.append(what), stored)[1])

        answers = [
            note(self.send((None, "before")), "before"),
            note(self.send((None, large), ("l", large)), "large"),
            note(self.send((None, "after")), "after"),
            note(self.committer.append(account, session, [IncomingMessage(None, "other")]), "other"),
        ]
        stored = await gatherResults(answers)
        self.assertEqual(order, ["before", "other", "large", "after"])
        self.assertEqual([message.seq for each in stored[:3] for message in each], [1, 2, 3, 4])
        self.assertEqual([len(row[2]) for row in self.stored(self.session)], [6, *[len(large)] * 2, 5])
        [again] = await self.send(("l", large))
        self.assertEqual((again.seq, again.new), (3, False))

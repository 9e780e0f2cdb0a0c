"""The key-value store of an account (http.md 6.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct, structs

from happy.api.declare import MIB, Caller, Capability
from happy.api.pieces import Listing
from happy.api.structs import Base64, Body, Key, Number, Query, Reply
from happy.base.errors import Refusal
from happy.base.pace import Pace
from happy.capabilities._base64 import as_text, decoded_in_turns, decoded_leniently_in_turns
from happy.capabilities.server import Server
from happy.realtime.updates import KvBatchUpdate, KvChange, devices_of
from happy.storage import kv as storage
from happy.storage.kv import ABSENT, Entry, Slot
from happy.storage.large import Page
from happy.storage.transaction import Transaction

T = TypeVar("T")

kv = Capability("kv")


class StaleEntry(Struct, frozen=True, kw_only=True):
    """What is stored under a key whose version was not the expected one; version -1 is nothing."""

    key: str
    error: Literal["version-mismatch"] = "version-mismatch"
    version: int
    value: Base64 | None


class StaleEntries(Struct, frozen=True, kw_only=True):
    """Everything that speaks against a batch, in the order of its mutations."""

    success: Literal[False] = False
    errors: list[StaleEntry]


class KeyNotFound(Refusal):
    status = 404
    error = "Key not found"


class Conflict(Refusal):
    """Some versions are not the stored ones; nothing was written."""

    status = 409
    shape = StaleEntries

    def __init__(self, errors: list[StaleEntry]) -> None:
        super().__init__()
        self.errors = errors

    def body(self) -> dict[str, Any]:
        return structs.asdict(StaleEntries(errors=self.errors))


class EntryView(Reply):
    key: str
    value: Base64
    version: int


class KvItems(Reply):
    items: list[EntryView]


class Values(Reply):
    values: list[EntryView]


class ListQuery(Query):
    prefix: str = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class Wanted(Body):
    keys: Annotated[list[Key], Meta(min_length=1, max_length=100)]


class Mutation(Body):
    """A null or empty ``value`` deletes. For a new key it is decoded leniently.

    ``version`` is the stored one, -1 for a key that was never written.
    """

    key: Key
    value: Base64 | None
    version: Number


class Mutations(Body):
    mutations: Annotated[list[Mutation], Meta(min_length=1, max_length=100)]


class EntryVersion(Struct, frozen=True):
    key: str
    version: int


class Applied(Reply):
    """The new versions, in the order of the mutations."""

    success: Literal[True] = True
    results: list[EntryVersion]


@kv.get("/v1/kv/:key", refuses=(KeyNotFound,), failure={"error": "Failed to get value"})
async def get(tx: Transaction, caller: Caller, key: str) -> EntryView:
    """One entry."""
    entry = await storage.get(tx, caller.account, key)
    if entry is None:
        raise KeyNotFound
    return _view(entry)


@kv.get("/v1/kv", failure={"error": "Failed to list items"})
async def list_entries(tx: Transaction, caller: Caller, query: ListQuery) -> Listing[KvItems]:
    """Entries whose key starts with a prefix, taken literally (D13)."""
    page = await storage.entries(tx, caller.account, query.prefix, query.limit)
    return _listing(caller, page, lambda views: KvItems(items=views))


@kv.post("/v1/kv/bulk", failure={"error": "Failed to get values"})
async def get_several(server: Server, caller: Caller, body: Wanted) -> Listing[Values]:
    """Those of the entries that exist."""
    page = await server.database.read(
        lambda tx: storage.get_several(tx, caller.account, set(body.keys)), owner=caller.account
    )
    return _listing(caller, page, lambda views: Values(values=views))


@kv.post("/v1/kv", refuses=(Conflict,), failure={"error": "Failed to mutate values"}, limit=100 * MIB)
async def mutate(tx: Transaction, caller: Caller, body: Mutations, server: Server) -> Applied:
    """Apply every mutation or none; a stale version changes nothing."""
    keys = {mutation.key for mutation in body.mutations}
    stored = await storage.lock(tx, caller.account, keys)
    if stale := conflicts(stored, body.mutations):
        raise Conflict(stale)
    slots = {
        mutation.key: await _slot(
            server.pace, caller.account, mutation, index, new=mutation.key not in stored
        )
        for index, mutation in enumerate(body.mutations)
    }
    if taken := await storage.write(tx, caller.account, slots):
        stored = await storage.lock(tx, caller.account, taken)
        raise Conflict(conflicts(stored, [mutation for mutation in body.mutations if mutation.key in taken]))
    changes = [KvChange(m.key, m.value, slots[m.key].version) for m in body.mutations]
    tx.publish(devices_of(caller.account), KvBatchUpdate(changes=changes))
    return Applied(results=[EntryVersion(change.key, change.version) for change in changes])


def conflicts(stored: Mapping[str, Slot], mutations: list[Mutation]) -> list[StaleEntry]:
    """What speaks against the mutations: other versions, and keys that are to be created twice."""
    errors, created = [], set()
    for mutation in mutations:
        slot = stored.get(mutation.key, Slot(None, ABSENT))
        if mutation.version != slot.version or mutation.key in created:
            errors.append(StaleEntry(key=mutation.key, version=slot.version, value=as_text(slot.value)))
        elif slot.version == ABSENT:
            created.add(mutation.key)
    return errors


async def _slot(pace: Pace, account: str, mutation: Mutation, index: int, *, new: bool) -> Slot:
    """What a mutation stores. Raises Invalid for a value that cannot be decoded."""
    version = int(mutation.version) + 1
    if not mutation.value:
        return Slot(None, version)
    if new:
        return Slot(await decoded_leniently_in_turns(pace, account, mutation.value), version)
    value = await decoded_in_turns(pace, account, mutation.value, "mutations", index, "value")
    return Slot(value, version)


def _listing(caller: Caller, page: Page[Entry], reply: Callable[[list[EntryView]], T]) -> Listing[T]:
    return Listing(
        page=page,
        view=_view,
        reply=reply,
        again=lambda tx, keys: storage.named(tx, caller.account, keys),
    )


def _view(entry: Entry) -> EntryView:
    return EntryView(key=entry.key, value=as_text(entry.value), version=entry.version)

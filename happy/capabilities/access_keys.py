"""Access keys: one opaque text for each pair of a session and a machine (http.md 6.6)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, UnsetType

from happy.api.declare import Caller, Capability
from happy.api.structs import Body, NonEmpty, NonNegative, Reply, Timestamp, stands_for
from happy.base.errors import Refusal
from happy.capabilities.server import Server
from happy.storage import access_keys as storage
from happy.storage.access_keys import AccessKeyRow
from happy.storage.transaction import Transaction

access_keys = Capability("access_keys")

PATH = "/v1/access-keys/:sessionId/:machineId"


class PairNotFound(Refusal):
    status = 404
    error = "Session or machine not found"


class KeyExists(Refusal):
    status = 409
    error = "Access key already exists"


class AccessKeyNotFound(Refusal):
    status = 404
    error = "Access key not found"


class NewKey(Body):
    data: str


class ChangeKey(Body):
    data: str
    expected_version: NonNegative


class KeyView(Reply):
    """An access key."""

    data: str
    data_version: int
    created_at: Timestamp
    updated_at: Timestamp


class FoundKey(Reply):
    access_key: KeyView | None


class CreatedKey(Reply):
    success: Literal[True] = True
    access_key: KeyView


class ChangedKey(Reply):
    success: Literal[True] = True
    version: int


class StaleKey(Reply):
    success: Literal[False] = False
    error: Literal["version-mismatch"] = "version-mismatch"
    current_version: int
    current_data: Annotated[Any, stands_for(str | None)]


class WantedKey(Body):
    session_id: NonEmpty
    machine_id: NonEmpty


class KeyAnswer(Reply):
    """``access_key`` when ``ok``, else ``error``."""

    ok: bool
    access_key: KeyView | None | UnsetType = UNSET
    error: str | UnsetType = UNSET


@access_keys.get(PATH, refuses=(PairNotFound,), failure={"error": "Failed to get access key"})
async def read(tx: Transaction, caller: Caller, session_id: str, machine_id: str) -> FoundKey:
    """The key of a pair, or null."""
    pair = await storage.find(tx, caller.account, session_id, machine_id)
    if pair is None:
        raise PairNotFound
    return FoundKey(access_key=_view(pair.key))


@access_keys.post(PATH, refuses=(PairNotFound, KeyExists), failure={"error": "Failed to create access key"})
async def create(
    tx: Transaction, caller: Caller, session_id: str, machine_id: str, body: NewKey
) -> CreatedKey:
    """Store the first key of a pair."""
    pair = await storage.find(tx, caller.account, session_id, machine_id)
    if pair is None:
        raise PairNotFound
    if pair.key is not None:
        raise KeyExists
    row = await storage.create(tx, caller.account, session_id, machine_id, body.data)
    if row is None:
        raise KeyExists
    return CreatedKey(access_key=KeyView(**row._asdict()))


@access_keys.put(
    PATH, refuses=(AccessKeyNotFound,), failure={"success": False, "error": "Failed to update access key"}
)
async def change(
    tx: Transaction, caller: Caller, session_id: str, machine_id: str, body: ChangeKey
) -> ChangedKey | StaleKey:
    """Replace a key, unless somebody else did since the caller looked."""
    outcome = await storage.set_data(
        tx, caller.account, session_id, machine_id, body.data, body.expected_version
    )
    if outcome is None:
        raise AccessKeyNotFound
    if not outcome.changed:
        return StaleKey(current_version=outcome.version, current_data=outcome.value)
    return ChangedKey(version=outcome.version)


@access_keys.event(
    "access-key-get",
    invalid={"ok": False, "error": "Invalid parameters: sessionId and machineId are required"},
    failure={"ok": False, "error": "Internal error"},
)
async def get(server: Server, caller: Caller, body: WantedKey) -> KeyAnswer:
    """The key of a pair, or null, for a socket."""
    pair = await server.database.read(
        lambda tx: storage.find(tx, caller.account, body.session_id, body.machine_id), owner=caller.account
    )
    if pair is None:
        return KeyAnswer(ok=False, error=PairNotFound.error)
    return KeyAnswer(ok=True, access_key=_view(pair.key))


def _view(row: AccessKeyRow | None) -> KeyView | None:
    return None if row is None else KeyView(**row._asdict())

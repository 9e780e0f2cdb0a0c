"""Machines: registration, reading, versioned metadata and daemon state, deletion (http.md 6.5)."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from happy.api.declare import Caller, Capability
from happy.api.pieces import Listing, whole
from happy.api.structs import Base64, Body, Key, LenientBase64, NonEmpty, Number, Reply, Timestamp
from happy.base.errors import Refusal
from happy.capabilities._base64 import data_key, members_of
from happy.capabilities._replies import Success
from happy.capabilities.server import Server
from happy.realtime.updates import (
    DeleteMachine,
    NewMachine,
    TextVersion,
    UpdateMachine,
    devices_of,
    watchers_of_machine,
)
from happy.storage import machines as storage
from happy.storage.machines import MachineRow
from happy.storage.transaction import Transaction

LIST_LENGTH = 1000

machines = Capability("machines")


class MachineNotFound(Refusal):
    status = 404
    error = "Machine not found"


class ForeignMachine(Refusal):
    """The CLI explains a conflict to its user; a failure would make it believe the server is down (D2)."""

    status = 409
    error = "Machine is registered to another account"


class Register(Body):
    id: Key
    metadata: str
    daemon_state: str | UnsetType = UNSET
    data_encryption_key: LenientBase64 | None = None


class RegisteredMachine(Reply):
    """A machine as its registration answers it, without ``seq``."""

    id: str
    metadata: str
    metadata_version: int
    daemon_state: str | None
    daemon_state_version: int
    data_encryption_key: Base64 | None
    active: bool
    active_at: Timestamp
    created_at: Timestamp
    updated_at: Timestamp


class MachineView(Reply):
    """``seq`` is always 0."""

    id: str
    metadata: str
    metadata_version: int
    daemon_state: str | None
    daemon_state_version: int
    data_encryption_key: Base64 | None
    seq: int
    active: bool
    active_at: Timestamp
    created_at: Timestamp
    updated_at: Timestamp


class Registration(Reply):
    machine: RegisteredMachine


class OneMachine(Reply):
    machine: MachineView


class ChangeMachineMetadata(Body):
    machine_id: NonEmpty
    metadata: str
    expected_version: Number


class ChangeDaemonState(Body):
    machine_id: NonEmpty
    daemon_state: str
    expected_version: Number


class MachineMetadataOutcome(Reply):
    """The stored version and metadata; those of the caller if ``result`` is success."""

    result: Literal["success", "version-mismatch"]
    version: int
    metadata: str | None


class DaemonStateOutcome(Reply):
    """The stored version and daemon state; those of the caller if ``result`` is success."""

    result: Literal["success", "version-mismatch"]
    version: int
    daemon_state: str | None


class MachineFailed(Reply):
    result: Literal["error"] = "error"
    message: str


INVALID = {"result": "error", "message": "Invalid parameters"}
FAILURE = {"result": "error", "message": "Internal error"}
NOT_FOUND = MachineFailed(message="Machine not found")


@machines.post("/v1/machines", refuses=(ForeignMachine,))
async def register(tx: Transaction, caller: Caller, body: Register) -> Registration:
    """The machine with the id: a new one, inactive at first, or the stored one as it is."""
    found = await storage.get_or_create(
        tx,
        caller.account,
        body.id,
        metadata=body.metadata,
        daemon_state=body.daemon_state or None,
        data_encryption_key=data_key(body.data_encryption_key),
    )
    if found is None:
        raise ForeignMachine
    row, new = found
    if new:
        _announce(tx, caller.account, row)
    members = members_of(row)
    del members["seq"]
    return Registration(machine=RegisteredMachine(**members))


@machines.get("/v1/machines")
async def list_all(tx: Transaction, caller: Caller) -> Listing[list[MachineView]]:
    """The account's machines, the latest sign of life first."""
    return Listing(
        page=await storage.recently_active(tx, caller.account, LIST_LENGTH),
        view=lambda row: MachineView(**members_of(row)),
        reply=list,
        again=lambda tx, ids: storage.named(tx, caller.account, ids),
    )


@machines.get("/v1/machines/:id", refuses=(MachineNotFound,))
async def read(tx: Transaction, caller: Caller, id: str) -> OneMachine:
    """One machine."""
    row = await storage.find(tx, caller.account, id)
    if row is None:
        raise MachineNotFound
    return OneMachine(machine=MachineView(**members_of(row)))


@machines.delete("/v1/machines/:id", refuses=(MachineNotFound,))
async def delete(tx: Transaction, server: Server, caller: Caller, id: str) -> Success:
    """Delete a machine with its access keys; sessions stay."""
    if not await storage.delete(tx, caller.account, id):
        raise MachineNotFound
    tx.publish(devices_of(caller.account), DeleteMachine(machine_id=id))
    tx.after_commit(lambda: server.presence.forget_machine(id))
    return Success()


@machines.event("machine-update-metadata", invalid=INVALID, failure=FAILURE)
async def update_metadata(
    tx: Transaction, server: Server, caller: Caller, body: ChangeMachineMetadata
) -> MachineMetadataOutcome | MachineFailed:
    """Replace a machine's metadata, unless somebody else did since the caller looked."""
    outcome = await storage.set_metadata(
        tx, caller.account, body.machine_id, body.metadata, body.expected_version
    )
    if outcome is None:
        return NOT_FOUND
    if not outcome.changed:
        stored = await whole(server, caller.account, tx, outcome.value)
        return MachineMetadataOutcome(result="version-mismatch", version=outcome.version, metadata=stored)
    tx.publish(
        watchers_of_machine(caller.account, body.machine_id),
        UpdateMachine(machine_id=body.machine_id, metadata=TextVersion(body.metadata, outcome.version)),
    )
    return MachineMetadataOutcome(result="success", version=outcome.version, metadata=body.metadata)


@machines.event("machine-update-state", invalid=INVALID, failure=FAILURE)
async def update_state(
    tx: Transaction, server: Server, caller: Caller, body: ChangeDaemonState
) -> DaemonStateOutcome | MachineFailed:
    """Replace the daemon's state, unless somebody else did since the caller looked; the daemon is alive."""
    outcome = await storage.set_daemon_state(
        tx, caller.account, body.machine_id, body.daemon_state, body.expected_version
    )
    if outcome is None:
        return NOT_FOUND
    if not outcome.changed:
        stored = await whole(server, caller.account, tx, outcome.value)
        return DaemonStateOutcome(result="version-mismatch", version=outcome.version, daemon_state=stored)
    tx.publish(
        watchers_of_machine(caller.account, body.machine_id),
        UpdateMachine(
            machine_id=body.machine_id, daemon_state=TextVersion(body.daemon_state, outcome.version)
        ),
    )
    return DaemonStateOutcome(result="success", version=outcome.version, daemon_state=body.daemon_state)


def _announce(tx: Transaction, account: str, row: MachineRow) -> None:
    """Tell devices of the machine, and the machine's own connections of its metadata."""
    members = members_of(row)
    tx.publish(devices_of(account), NewMachine(machine_id=members.pop("id"), **members))
    tx.publish(
        watchers_of_machine(account, row.id),
        UpdateMachine(machine_id=row.id, metadata=TextVersion(row.metadata, row.metadata_version)),
    )

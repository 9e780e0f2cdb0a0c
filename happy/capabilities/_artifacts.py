"""What HTTP and sockets do to artifacts alike: change what is stored, and announce it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET

from happy.api.structs import Base64, Body
from happy.capabilities._base64 import decoded_in_turns, members_of
from happy.realtime.updates import DeleteArtifact, NewArtifact, TextVersion, UpdateArtifact, devices_of
from happy.storage import artifacts as storage
from happy.storage.artifacts import ArtifactPart, ArtifactRow
from happy.storage.transaction import Transaction

if TYPE_CHECKING:
    from happy.base.pace import Pace


class Sealed(Body):
    """What clients seal of an artifact."""

    header: Base64
    body: Base64
    data_encryption_key: Base64


class Edit(NamedTuple):
    """A part to be stored, and its text as the client sent it."""

    text: str
    part: ArtifactPart

    @property
    def version(self) -> int:
        """The version after the edit."""
        return int(self.part.expected) + 1


async def create(
    tx: Transaction, account: str, artifact: str, sealed: Sealed, pace: Pace
) -> ArtifactRow | None:
    """Get or create, and announce what is new; None for another account's id.

    A known id comes first, whatever else is asked. Raises Invalid for what is new and no base64.
    """
    if await storage.exists(tx, artifact):
        return await storage.find(tx, account, artifact)
    found = await storage.get_or_create(
        tx,
        account,
        artifact,
        header=await decoded_in_turns(pace, account, sealed.header, "header"),
        body=await decoded_in_turns(pace, account, sealed.body, "body"),
        data_encryption_key=await decoded_in_turns(
            pace, account, sealed.data_encryption_key, "dataEncryptionKey"
        ),
    )
    if found is None:
        return None
    row, new = found
    if new:
        announced = members_of(row)
        tx.publish(devices_of(account), NewArtifact(artifact_id=announced.pop("id"), **announced))
    return row


async def update(
    tx: Transaction, account: str, artifact: str, header: Edit | None, body: Edit | None
) -> bool:
    """Store and announce the edits if every expected version is the stored one."""
    if not await storage.update(tx, account, artifact, header and header.part, body and body.part):
        return False
    tx.publish(
        devices_of(account),
        UpdateArtifact(
            artifact_id=artifact,
            header=UNSET if header is None else TextVersion(header.text, header.version),
            body=UNSET if body is None else TextVersion(body.text, body.version),
        ),
    )
    return True


async def delete(tx: Transaction, account: str, artifact: str) -> bool:
    """Delete and announce; False for an artifact not owned."""
    if not await storage.delete(tx, account, artifact):
        return False
    tx.publish(devices_of(account), DeleteArtifact(artifact_id=artifact))
    return True

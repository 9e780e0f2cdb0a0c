"""What the server stores for an account, as answers describe it (http.md 6.3 to 6.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from happy.client.crypto import Cipher


class SessionRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """A session, sealed. Times are epoch milliseconds; ``seq`` is that of its latest message."""

    id: str
    seq: int
    metadata: str
    metadata_version: int
    agent_state: str | None
    agent_state_version: int
    data_encryption_key: str | None
    active: bool
    active_at: int
    created_at: int
    updated_at: int


class MachineRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """A machine, sealed."""

    id: str
    metadata: str
    metadata_version: int
    daemon_state: str | None
    daemon_state_version: int
    data_encryption_key: str | None
    active: bool
    active_at: int
    created_at: int
    updated_at: int


class Sealed(Struct, frozen=True, tag_field="t", tag="encrypted"):
    """The content of a message."""

    c: str


class MessageRecord(Struct, frozen=True, kw_only=True, rename="camel"):
    """A message, sealed. ``seq`` counts within its session from 1."""

    id: str
    seq: int
    content: Sealed
    local_id: str | None
    created_at: int
    updated_at: int


class Receipt(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the server says about a message that it stored."""

    id: str
    seq: int
    local_id: str | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session with the cipher of its contents. Opening them raises Undecryptable."""

    record: SessionRecord
    cipher: Cipher

    @property
    def id(self) -> str:
        """The server's name for the session."""
        return self.record.id

    @property
    def metadata(self) -> Any:
        """What the terminal says about itself."""
        return self.cipher.open(self.record.metadata)

    @property
    def agent_state(self) -> Any:
        """What the agent is doing, or None."""
        return None if self.record.agent_state is None else self.cipher.open(self.record.agent_state)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with the cipher of its contents. Opening them raises Undecryptable."""

    record: MachineRecord
    cipher: Cipher

    @property
    def id(self) -> str:
        """The machine's own name for itself."""
        return self.record.id

    @property
    def metadata(self) -> Any:
        """What the machine says about itself."""
        return self.cipher.open(self.record.metadata)

    @property
    def daemon_state(self) -> Any:
        """What its daemon is doing, or None."""
        return None if self.record.daemon_state is None else self.cipher.open(self.record.daemon_state)


@dataclass(frozen=True, slots=True)
class Message:
    """A message with its opened content."""

    record: MessageRecord
    value: Any

    @property
    def seq(self) -> int:
        """Its number within the session."""
        return self.record.seq


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages of a session; ``more`` tells whether others follow in the direction asked for."""

    messages: list[Message]
    more: bool

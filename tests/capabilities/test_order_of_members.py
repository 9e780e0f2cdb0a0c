"""In which order the members of answers stand where the contract names one (http.md 2, 6.3 to 6.7)."""

from __future__ import annotations

import msgspec
import pytest

from happy.capabilities.artifacts import ArtifactSummary, ArtifactView
from happy.capabilities.machines import MachineView, RegisteredMachine
from happy.capabilities.sessions import SessionAsOpened, SessionView, SessionViewV1

SESSION = (
    "id seq createdAt updatedAt active activeAt metadata metadataVersion agentState agentStateVersion "
    "dataEncryptionKey"
)
OPENED = (
    "id seq metadata metadataVersion agentState agentStateVersion dataEncryptionKey active activeAt "
    "createdAt updatedAt lastMessage"
)
REGISTERED = (
    "id metadata metadataVersion daemonState daemonStateVersion dataEncryptionKey active activeAt createdAt "
    "updatedAt"
)
ARTIFACT = "id header headerVersion body bodyVersion dataEncryptionKey seq createdAt updatedAt"


@pytest.mark.parametrize(
    ("view", "members"),
    [
        (SessionView, SESSION),
        (SessionViewV1, f"{SESSION} lastMessage"),
        (SessionAsOpened, OPENED),
        (RegisteredMachine, REGISTERED),
        (MachineView, REGISTERED.replace(" active ", " seq active ")),
        (ArtifactView, ARTIFACT),
        (ArtifactSummary, ARTIFACT.replace(" body bodyVersion", "")),
    ],
)
def test_order(view: type[msgspec.Struct], members: str) -> None:
    """Each answer is written as the contract lists it."""
    assert [member.encode_name for member in msgspec.structs.fields(view)] == members.split()

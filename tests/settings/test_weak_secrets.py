"""Which master secrets anybody could guess."""

from __future__ import annotations

import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.settings.weak_secrets import is_weak

PUBLISHED = """
test
CHANGEME
your-super-secret-key-for-local-development
your-secret-key
your_master_secret_here
change-me-to-a-random-string
changeme-in-production
replace-this-with-a-secure-secret-key
<generate-with-openssl-rand-hex-32>
$(openssl rand -hex 32)
${HANDY_MASTER_SECRET}
the output of: openssl rand -hex 32
head -c 32 /dev/urandom | base64
mysecretkey
your-32-character-secret-key-here
CHANGE_ME_TO_A_RANDOM_64_CHAR_HEX_STRING
dev-secret-do-not-use-in-production
secret2024
password123
0123456789abcdef0123456789abcdef
12345678901234567890123456789012
fedcba9876543210
deadbeefdeadbeefdeadbeefdeadbeef
aaaaaaaaaaaaaaaa
-------------------
short
"""


@pytest.mark.parametrize("secret", PUBLISHED.strip().splitlines())
def test_published(secret: str) -> None:
    """Values of examples, lines pasted unrun, and what repeats or counts are guessed."""
    assert is_weak(secret)
    assert is_weak(f" {secret.upper()}\n")


@given(st.binary(min_size=12, max_size=48))
def test_generated(noise: bytes) -> None:
    """What a generator makes is nobody's guess, in any of the usual forms."""
    if len(set(noise)) > 6:
        assert not is_weak(noise.hex())
        assert not is_weak(base64.b64encode(noise).decode())
        assert not is_weak(str(uuid.UUID(bytes=noise[:12] + b"\1\x9f\3\x80")))


@pytest.mark.parametrize(
    "secret",
    [
        "hunter2",
        "purple-otter-climbs-fence",
        "Kp9#x2mQ",
        "geheimnis-fuer-happy",
        "tr0ub4dor&3",
        "秘密の鍵です",
    ],
)
def test_somebody_s_own(secret: str) -> None:
    """What somebody thought of is theirs, however good it is: existing deployments go on with it."""
    assert not is_weak(secret)


@given(st.text())
def test_any_text(secret: str) -> None:
    """Whatever is given is judged."""
    assert is_weak(secret) in (True, False)

"""Bearer tokens, OAuth state tokens, and signature challenges (tokens-and-crypto.md 2-4 and 6).

Tokens are compact JWS signed with Ed25519. A JOSE library is not used because none accepts and
refuses the same tokens as existing deployments do, whose tokens have to keep working.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import floor, inf
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from happy.base.codecs import decode_base64url, encode_base64url
from happy.base.errors import Overloaded
from happy.keys.access import Access

_BEARER_ISSUER = "handy"
_STATE_ISSUER = "github-happy"
_HEADER = encode_base64url(b'{"alg":"EdDSA"}')
_STATE_LIFETIME = 300
_NOT_BEFORE_LEEWAY = 60  # seconds that the clock of the issuing node may be ahead of ours
_LONGEST_TOKEN = 4096
_CACHED_TOKENS = 50_000  # some 20 MiB; every client that comes back presents its own
_USED_STATES = 65_536

Text = Annotated[str, Meta(min_length=1)]

Refused = Literal[
    "not a token of ours", "token of another secret", "token is not in force", "token is revoked"
]
"""Why a token is refused, for whoever runs the server."""


def derive_secure_key(secret: str, label: str) -> bytes:
    """Stretch the master secret for one use: 64 bytes. Takes about 100 ms of CPU, outside of the GIL."""
    return hashlib.pbkdf2_hmac("sha512", secret.encode(), label.encode(), 210_000, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What is derived from the master secret: two Ed25519 seeds (32 bytes) and the vault's master (64)."""

    bearer_seed: bytes = field(repr=False)
    state_seed: bytes = field(repr=False)
    vault_master: bytes = field(repr=False)

    @classmethod
    def derive(cls, secret: str) -> Keys:
        """Derive all three. Slow, touches nothing else, and may run in a thread."""
        return cls(
            bearer_seed=derive_secure_key(secret, "handy Persistent Token")[:32],
            state_seed=derive_secure_key(secret, "github-happy Ephemeral Token")[:32],
            vault_master=derive_secure_key(secret, "happy-server-tokens"),
        )

    @property
    def public_key(self) -> bytes:
        """What verifies bearer tokens, and nothing else: 32 bytes that tell one secret from another."""
        return bytes(SigningKey(self.bearer_seed).verify_key)


@dataclass(frozen=True, slots=True)
class OtherKey:
    """The public key of another secret whose tokens count, until then (epoch seconds).

    It was in use before; or, without an end, it is in use, or about to be, at a node that has it already.
    """

    public_key: bytes
    until: float = inf


class SecretReplaced(Overloaded):
    """Another master secret is in use: what this process would sign or seal nobody could use for long."""


def fingerprint(public_key: bytes) -> str:
    """How a secret is called where people read: 16 hexadecimal digits."""
    return hashlib.sha256(public_key).hexdigest()[:16]


class _Header(Struct, frozen=True):
    alg: str
    crit: list[str] | UnsetType = UNSET
    b64: object = UNSET

    def acceptable(self) -> bool:
        """Whether it announces our algorithm and no extension that changes the meaning."""
        return self.alg in ("EdDSA", "Ed25519") and (
            self.crit is UNSET or (set(self.crit) == {"b64"} and self.b64 is True)
        )


class _Claims(Struct, frozen=True, kw_only=True):
    sub: Text
    iss: str
    iat: float | UnsetType = UNSET
    nbf: float = -inf
    exp: float = inf


class Bearer(_Claims, frozen=True, kw_only=True):
    """What a bearer token says: the account is ``sub``, the pairing request that it answers is ``session``.

    Whatever else stands there as the session is none of ours.
    """

    session: Any = None

    @property
    def issued_at(self) -> float:
        """When it was issued (epoch s), as far as it says so."""
        return -inf if self.iat is UNSET else self.iat

    @property
    def pairing(self) -> str | None:
        """The pairing that it belongs to, of those that can be told apart."""
        return self.session if isinstance(self.session, str) else None


class _StateClaims(_Claims, frozen=True, kw_only=True):
    exp: float
    jti: Text


C = TypeVar("C", bound=_Claims)


class _Verifier:
    """Checks the tokens of one issuer with one public key."""

    def __init__(self, public_key: VerifyKey, issuer: str) -> None:
        self._verify_key = public_key
        self._issuer = issuer

    def verify(self, token: str, claims: type[C], now: float, leeway: int = 0) -> C | None:
        """The claims of a token of this issuer that is in force at ``now``, or None."""
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        try:
            if not msgspec.json.decode(decode_base64url(header), type=_Header).acceptable():
                return None
            self._verify_key.verify(signed.encode(), decode_base64url(signature))
            found = msgspec.json.decode(decode_base64url(payload), type=claims)
        except (ValueError, BadSignatureError, RecursionError):
            return None
        in_force = found.nbf <= floor(now) + leeway and found.exp > floor(now)
        return found if in_force and found.iss == self._issuer else None

    def why_refused(self, token: str) -> Refused:
        """What is wrong with a token that is refused, as far as it can be told."""
        signed, _, signature = token.rpartition(".")
        try:
            claims = msgspec.json.decode(decode_base64url(signed.partition(".")[2]), type=_Claims)
            if claims.iss != self._issuer:
                return "not a token of ours"
            self._verify_key.verify(signed.encode(), decode_base64url(signature))
        except BadSignatureError:
            return "token of another secret"
        except (ValueError, RecursionError):
            return "not a token of ours"
        return "token is not in force"


class _Signer(_Verifier):
    """Signs, and checks, the tokens of one issuer with one key."""

    def __init__(self, seed: bytes, issuer: str) -> None:
        self._signing_key = SigningKey(seed)
        super().__init__(self._signing_key.verify_key, issuer)

    def sign(
        self,
        account: str,
        now: float,
        *,
        session: str | None = None,
        lifetime: int | None = None,
        issued_at: int | None = None,
    ) -> str:
        """A new token for ``account``, with the members in the order of the contract."""
        claims: dict[str, str | int] = {"sub": account}
        if session is not None:
            claims["session"] = session
        claims["iat"] = floor(now) if issued_at is None else issued_at
        claims["nbf"] = floor(now)
        if lifetime is not None:
            claims["exp"] = floor(now + lifetime)
        claims["iss"] = self._issuer
        claims["jti"] = str(uuid.uuid4())
        signed = f"{_HEADER}.{encode_base64url(msgspec.json.encode(claims))}"
        return f"{signed}.{encode_base64url(self._signing_key.sign(signed.encode()).signature)}"


class Tokens:
    """Issues and verifies the server's tokens.

    ``now`` tells the time in epoch seconds. ``others`` verify what was issued with other master secrets,
    ``access`` says who is kept out. What is remembered (verified bearer tokens, used state tokens) is bounded
    and belongs to this process; tokens themselves are never kept, only digests.
    """

    until = inf
    """When tokens of this secret count no more (epoch seconds): finite once another is in use."""

    def __init__(
        self,
        keys: Keys,
        now: Callable[[], float],
        others: Sequence[OtherKey] = (),
        access: Access | None = None,
    ) -> None:
        self.access = Access() if access is None else access
        self.public_key = keys.public_key
        self._bearer = _Signer(keys.bearer_seed, _BEARER_ISSUER)
        self._state = _Signer(keys.state_seed, _STATE_ISSUER)
        self._now = now
        self._verified: OrderedDict[bytes, Bearer] = OrderedDict()
        self._used_states: OrderedDict[str, None] = OrderedDict()
        self._learned: tuple[list[OtherKey], float] | None = None
        self.learn(others)

    def learn(self, others: Sequence[OtherKey], until: float = inf) -> None:
        """Know which other secrets' tokens count, and until when those of this one do (epoch seconds)."""
        if (known := (list(others), until)) == self._learned:
            return
        self._learned = known
        self._others = [(_Verifier(VerifyKey(key.public_key), _BEARER_ISSUER), key.until) for key in others]
        self.until = until
        self._verified.clear()

    @property
    def replaced(self) -> bool:
        """Whether another secret is in use."""
        return self.until < inf

    @property
    def void(self) -> bool:
        """Whether another secret is in use, and tokens of this one count no more."""
        return self.until <= self._now()

    def issue(self, account: str, session: str | None = None) -> str:
        """A new bearer token; ``session`` names the pairing request that it answers.

        It is known from now on, so that it is in force although the clock may be put back. Raises
        AccountDisabled and SecretReplaced.
        """
        self.access.check(account)
        if self.void:
            raise SecretReplaced
        issued_at = self.access.earliest(account, floor(self._now()))
        token = self._bearer.sign(account, self._now(), session=session, issued_at=issued_at)
        claims = Bearer(sub=account, iss=_BEARER_ISSUER, iat=issued_at, session=session)
        self._remember(_digest(token), _as_long(claims, self.until))
        return token

    def verify(self, token: str) -> str | None:
        """The account that a bearer token was issued to, or None for anything that is no valid token.

        A time before "not before" is forgiven for up to 60 seconds (clock skew between nodes). Raises
        AccountDisabled.
        """
        claims = self.identify(token)
        return None if claims is None else claims.sub

    def identify(self, token: str) -> Bearer | None:
        """As :meth:`verify`, with all that the token says."""
        claims = self._known(token)
        if claims is None or not self.access.admits(claims.sub, claims.issued_at, claims.pairing):
            return None
        return claims

    def _known(self, token: str) -> Bearer | None:
        """What a token says that is in force; whether it was revoked is another question."""
        if not _plausible(token):
            return None
        key = _digest(token)
        if (claims := self._verified.get(key)) is None:
            if (claims := self._claims(token)) is None:
                return None
            self._remember(key, claims)
        elif claims.exp <= floor(self._now()):
            del self._verified[key]
            return None
        else:
            self._verified.move_to_end(key)
        return claims

    def _claims(self, token: str) -> Bearer | None:
        """What a token says that this secret signed, or another one, whose time is not over."""
        now = self._now()
        for verifier, until in ((self._bearer, self.until), *self._others):
            claims = verifier.verify(token, Bearer, now, _NOT_BEFORE_LEEWAY) if now < until else None
            if claims is not None:
                return _as_long(claims, until)
        return None

    def why_refused(self, token: str) -> Refused:
        """What is wrong with a bearer token that :meth:`verify` refuses."""
        if self._known(token) is not None:
            return "token is revoked"
        return self._bearer.why_refused(token) if _plausible(token) else "not a token of ours"

    def _remember(self, key: bytes, claims: Bearer) -> None:
        self._verified[key] = claims
        if len(self._verified) > _CACHED_TOKENS:
            self._verified.popitem(last=False)

    def issue_state(self, account: str) -> str:
        """A new OAuth state token, good once and for just under five minutes."""
        return self._state.sign(account, self._now(), lifetime=_STATE_LIFETIME)

    def verify_state(self, token: str) -> str | None:
        """The account of a valid state token that was not presented before, or None.

        Only of the last 65536 uses it is known, however long ago they were: a clock that is put back
        brings expired tokens back into force.
        """
        worth = _plausible(token) and not self.void
        claims = self._state.verify(token, _StateClaims, self._now()) if worth else None
        if claims is None or claims.jti in self._used_states:
            return None
        self._used_states[claims.jti] = None
        if len(self._used_states) > _USED_STATES:
            self._used_states.popitem(last=False)
        return claims.sub


def _as_long(claims: Bearer, until: float) -> Bearer:
    """What a token says that counts until then at most."""
    return claims if until == inf else msgspec.structs.replace(claims, exp=min(claims.exp, floor(until)))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _plausible(token: str) -> bool:
    """Whether a text is worth any work at all."""
    return len(token) <= _LONGEST_TOKEN and token.isascii()


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is the Ed25519 signature of ``message`` by ``public_key`` (32 bytes).

    Keys and signatures of another size are simply not valid.
    """
    try:
        VerifyKey(public_key).verify(message, signature)
    except (ValueError, BadSignatureError):
        return False
    return True

"""What happens that an operator wants to know of: by name, at a level, and never more than so much of it.

A message of ours that has a value ``event`` is an event of that name; in JSON its other values stand beside.
Those that clients bring about are said here, since they need a bound of their own that costs next to nothing
when it is reached: of each a few lines a minute, then a number. Ids are shortened; there are no addresses.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from twisted.logger import Logger, LogLevel

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

MINUTE: Final = 60.0

MOST: Final = 10
"""Lines of one event in a minute; how many more there were is told when it is over."""

GATHERING: Final = 5.0
"""Seconds for which the first refusals are gathered before they are told."""

Refused = Literal[
    "wrong signature",
    "not a token of ours",
    "token of another secret",
    "token is not in force",
    "too many logins",
    "registration is closed",
    "account is disabled",
    "token is revoked",
]
"""Why a login or a token is refused."""

_SHORT: Final = 6


class Refusals(Protocol):
    """Where refusals are noted with the address."""

    def note(self, address: str, reason: str) -> None:
        """Somebody at ``address`` was refused."""


class Events:
    """Says what happens. Methods are named as the events are; ``refusals`` is told of addresses.

    Refused logins are only counted, and told once a minute with their reason, so that nobody fills the log
    by being refused.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, refusals: Refusals | None = None) -> None:
        self._clock = clock
        self._refusals = refusals
        self._said: Counter[str] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._timer: IDelayedCall | None = None
        self._ends = 0.0
        self._told_at = -MINUTE

    # -- who comes and goes --------------------------------------------------------------------------

    def account_made(self, account: str) -> None:
        """Somebody logged in for the first time."""
        self._say("account-made", "Account {account} was made", account=short(account))

    def login_refused(self, reason: Refused, address: str) -> None:
        """A login, or a request or socket with a token, was refused."""
        self._refuse("login-refused", reason, address)

    def registration_refused(self, address: str) -> None:
        """Somebody unknown wanted an account while none are made."""
        self._refuse("registration-refused", "registration is closed", address)

    def pairing_waits(self, what: str) -> None:
        """A terminal or a device asks to be let in."""
        self._say("pairing-waits", "A {what} waits to be let into an account", what=what)

    def pairing_answered(self, account: str, what: str) -> None:
        """Somebody let it in."""
        self._say("pairing-answered", "Account {account} let a {what} in", account=short(account), what=what)

    def device_online(self, account: str, what: str, device: str = "") -> None:
        """A machine or an app has connected."""
        self._device("device-online", "is online", account, what, device)

    def device_offline(self, account: str, what: str, device: str = "") -> None:
        """It is gone."""
        self._device("device-offline", "is offline", account, what, device)

    def _device(self, event: str, becomes: str, account: str, what: str, device: str) -> None:
        if self._room(event):
            name = f"{what} {short(device)}" if device else what
            text = f"{{name}} of account {{account}} {becomes}"
            self._log.info(text, event=event, name=name, account=short(account))

    def revoked(self, account: str, closed: int) -> None:
        """What an account was given is not accepted any more; so many of its sockets were closed."""
        text = "Tokens of account {account} were revoked; {closed} sockets are closed"
        self._say("revoked", text, account=short(account), closed=closed)

    # -- what goes wrong -----------------------------------------------------------------------------

    def push_failed(self, account: str, reason: str) -> None:
        """A notification reached nobody."""
        text = "A notification for account {account} failed: {reason}"
        self._say("push-failed", text, LogLevel.warn, account=short(account), reason=reason)

    def slow_reader_cut(self, reason: str) -> None:
        """A client did not take what was meant for it."""
        text = "A client was cut, since it reads too slowly: {reason}"
        self._say("slow-reader-cut", text, LogLevel.warn, reason=reason)

    # -- how much of it is said ----------------------------------------------------------------------

    def _say(self, event: str, text: str, level: Any = LogLevel.info, **facts: object) -> None:
        if self._room(event):
            self._log.emit(level, text, event=event, **facts)

    def _room(self, event: str) -> bool:
        """Whether one more line of an event may be written; if not, it is counted."""
        self._await(MINUTE)
        self._said[event] += 1
        return self._said[event] <= MOST

    def _refuse(self, event: str, reason: str, address: str) -> None:
        self._refused[event, reason] += 1
        self._await(GATHERING)
        if self._refusals is not None:
            self._refusals.note(address, reason)

    def _await(self, seconds: float) -> None:
        """Tell what was counted after a while, or when a minute is over since that was last done."""
        now = self._clock.seconds()
        due = max(now + seconds, self._told_at + MINUTE)
        if self._timer is None:
            self._timer, self._ends = self._clock.callLater(due - now, self.tell), due
        elif due < self._ends:
            self._timer.reset(due - now)
            self._ends = due

    def tell(self) -> None:
        """Say how many there were of what was not written."""
        self.stop()
        said, refused = self._said, self._refused
        if refused:
            self._told_at = self._clock.seconds()
        self._said, self._refused = Counter(), Counter()
        for (event, reason), count in refused.items():
            what = _REFUSED[event][count != 1]
            self._log.warn("{count:,} {what}: {reason}", event=event, count=count, what=what, reason=reason)
        for event, count in said.items():
            if count > MOST:
                self._log.info("{count:,} more in the last minute: {event}", event=event, count=count - MOST)

    def stop(self) -> None:
        """Wait no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


_REFUSED: Final = {
    "login-refused": ("login refused", "logins refused"),
    "registration-refused": ("registration refused", "registrations refused"),
}


def short(id: str) -> str:
    """As much of an id as the log has: enough to tell a few apart."""
    return id[:_SHORT]

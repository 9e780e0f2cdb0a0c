"""The command line of ``twistd happy`` and ``twist happy``, made from the table of settings."""

from __future__ import annotations

import getopt
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted import copyright
from twisted.python import usage
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

from happy import __version__
from happy.base.pid_files import forget_stale
from happy.settings.config import SHOWN, Config
from happy.settings.declaration import GROUPS, BadSetting, Setting, did_you_mean
from happy.settings.loading import load
from happy.settings.misspelt import misspelt

_NAMES = 26
"""Columns of the help that option names have; a longer one has a line to itself."""
_NARROWEST, _WIDEST = 40, 100
"""Columns from which on longer lines are harder to read."""


class Options(usage.Options):
    """Parses the command line; afterwards ``config`` holds the settings, from wherever they came.

    Whatever is wrong ends the program with one line and exit code 1: Twisted would print the whole help, and
    exit with 0.
    """

    longdesc = (
        "A sync server for the Happy clients. Every option can also be given by the environment variable "
        "in brackets, or as a key of the file named by --config; an option wins over the environment, "
        "the environment over the file."
    )
    config: Config

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._environment = os.environ if environment is None else environment
        self._given: dict[str, list[str]] = {}

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Read the command line, by default the process's own. Raises SystemExit with a line."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"happy: {_reason(error)}") from None

    def parseArgs(self, *words: str) -> None:
        """Nothing but options is expected."""
        if words:
            raise usage.UsageError(f"nothing is expected after the options, but there is {words[0]!r}")

    def postOptions(self) -> None:
        """Find every setting's value, and tell of names that were meant as settings."""
        try:
            self.config = load(self._given, self._environment)
        except BadSetting as error:
            raise SystemExit(f"happy: {error}") from None
        if self.parent is not None and (file := self.parent.get("pidfile")):
            forget_stale(Path(file), "twistd")
        for line in (*misspelt(self._environment), *self.config.unknown):
            print(f"happy: {line}", file=sys.stderr)  # noqa: T201

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"happy-server {__version__} on Twisted {copyright.version}")  # noqa: T201
        raise SystemExit(0)

    def getUsage(self, width: int | None = None) -> str:
        """The help, by groups; ``width`` is that of the terminal in columns."""
        width = min(width or max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
        about = textwrap.fill(self.longdesc, width)
        plain = _entry("--help", "Show this and exit.", width) + _entry(
            "--version", "Show it and exit.", width
        )
        groups = "".join(f"\n{group.capitalize()}:\n{_entries(group, width)}" for group in GROUPS)
        return f"\n{about}\n\n{plain}{groups}"

    def give(self, name: str, text: str) -> None:
        """Note that an option was given."""
        self._given.setdefault(name, []).append(text)


def _reason(error: usage.UsageError) -> str:
    """What is wrong with the command line, and the way out."""
    cause = error.__context__
    if not isinstance(cause, getopt.GetoptError):
        return str(error)
    name, known = cause.opt, {one.name: f"--{one.name}" for one in SHOWN}
    option = f"--{name}" if len(name) > 1 else f"-{name}"
    if name in known:
        return f"{cause.msg}; twistd happy --help shows how it is written"
    if len(name) == 1 or {name, f"{name}="} & set(ServerOptions().longOpt):
        return f"{option} is no option of happy; those of twistd go before it: twistd {option} happy"
    return f"{option} is no option{did_you_mean(name, known) or '; twistd happy --help lists them'}"


def _entries(group: str, width: int) -> str:
    """The options of a group, in the order of their declaration."""
    return "".join(
        _entry(f"--{one.name}{'' if one.flag else '='}", _meaning(one), width)
        for one in SHOWN
        if one.group == group
    )


def _entry(option: str, meaning: str, width: int) -> str:
    """An option and what it means, in two columns."""
    lines = textwrap.wrap(meaning, width - _NAMES - 2, break_long_words=False, break_on_hyphens=False)
    name = f"  {option}"
    head = [name.ljust(_NAMES + 2) + lines.pop(0)] if len(name) <= _NAMES else [name]
    return "".join(f"{line}\n" for line in [*head, *(" " * (_NAMES + 2) + line for line in lines)])


def _meaning(setting: Setting) -> str:
    default = f", default {setting.default_text}" if setting.default_text and not setting.flag else ""
    return f"{setting.help} [{setting.environment[0]}{default}]"


def _handler(setting: Setting) -> Callable[..., None]:
    def flag(self: Options) -> None:
        self.give(setting.name, "true")

    def value(self: Options, text: str) -> None:
        self.give(setting.name, text)

    handler = flag if setting.flag else value
    handler.__doc__ = setting.help
    return handler


for _setting in SHOWN:
    setattr(Options, f"opt_{_setting.field}", _handler(_setting))

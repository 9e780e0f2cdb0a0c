"""The command line of ``twistd happy`` and ``twist happy``, made from the table of settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from twisted import copyright
from twisted.python import usage

from happy import __version__
from happy.settings.config import SETTINGS, Config, load
from happy.settings.declaration import BadSetting, Setting


class Options(usage.Options):
    """Parses the command line; afterwards ``config`` holds the settings, from wherever they came.

    A wrong setting ends the program with one line instead of the page of help that a UsageError prints.
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

    def postOptions(self) -> None:
        """Find every setting's value."""
        try:
            self.config = load(self._given, self._environment)
        except BadSetting as error:
            raise SystemExit(f"happy: {error}") from None

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"happy-server {__version__} on Twisted {copyright.version}")  # noqa: T201
        raise SystemExit(0)

    def give(self, name: str, text: str) -> None:
        """Note that an option was given."""
        self._given.setdefault(name, []).append(text)


def _handler(setting: Setting) -> Callable[..., None]:
    def flag(self: Options) -> None:
        self.give(setting.name, "true")

    def value(self: Options, text: str) -> None:
        self.give(setting.name, text)

    handler = flag if setting.flag else value
    handler.__doc__ = f"{setting.help} [{', '.join(_facts(setting))}]"
    return handler


def _facts(setting: Setting) -> list[str]:
    """The variable, and the default where there is one that is worth a word."""
    default = [] if setting.default in {None, "", (), False} else [f"default {setting.default}"]
    return [setting.environment[0], *default]


for _setting in SETTINGS:
    setattr(Options, f"opt_{_setting.field}", _handler(_setting))

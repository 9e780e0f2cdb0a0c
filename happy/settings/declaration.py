"""What a setting is, and how its value is found and read.

A setting is declared once, as a field of :class:`happy.settings.config.Config`; from that one come the
command-line option, the environment variable, the key of the configuration file, the help text, the error
messages and the row of docs/settings.md.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from happy.base.errors import StartupError

Parse = Callable[[str], Any]
"""Reads a value (see :mod:`happy.settings.parsers`)."""


Group = Literal[
    "everyday",
    "database",
    "files",
    "integrations",
    "clients",
    "connections",
    "limits",
    "several nodes",
    "logs and metrics",
    "old deployments",
]
GROUPS: tuple[Group, ...] = get_args(Group)
"""What settings are about, in the order in which the help and the documents show them."""


class BadSetting(StartupError):
    """A wrong or missing setting; the text is one line for the operator, without any secret value."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``name`` is the option without its dashes and the key in the configuration file.

    ``environment`` lists the variables that set it, the usual one first. ``many`` settings hold a tuple:
    the option repeats, the variable separates by white space, the file has a list. A ``flag`` is an
    option without a value. The value of a ``secret`` one is never shown. ``blank`` tells that an empty
    environment variable is a value instead of none. A ``verbatim`` value keeps the white space around it.
    Without a ``group``, only the variable sets it, and nothing shows it. One that is not ``used`` may have
    any value, and so may one that ``needs`` another setting, by name, which is not set or false. ``ambient``
    tells of a variable's value that a shell or a cluster sets for ends of its own.
    """

    name: str
    group: Group | None
    parse: Parse
    default: Any
    environment: tuple[str, ...]
    help: str
    example: str
    secret: bool = False
    many: bool = False
    flag: bool = False
    blank: bool = False
    verbatim: bool = False
    used: bool = True
    needs: str = ""
    ambient: Callable[[str], bool] | None = None

    @property
    def field(self) -> str:
        """The attribute of the configuration record."""
        return self.name.replace("-", "_")

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty where there is none."""
        if self.default in (None, "", ()):
            return ""
        return f"{self.default:g}" if isinstance(self.default, float) else _written(self.default)


@dataclass(frozen=True, slots=True)
class Given:
    """Values of a setting as text, and where they were found; ``wrong`` is why there are none, if so."""

    texts: tuple[str, ...]
    origin: str
    wrong: str = ""


class Collected(NamedTuple):
    """What a source sets, by the names of settings, and a line about each name that is none."""

    given: dict[str, Given]
    unknown: tuple[str, ...] = ()


def setting(
    group: Group | None,
    default: Any,
    parse: Parse,
    environment: str | tuple[str, ...],
    help: str,
    example: str,
    **traits: Any,
) -> Any:
    """Declare a field of a frozen record as a setting; see :class:`Setting`."""
    names = (environment,) if isinstance(environment, str) else environment
    facts = {"group": group, "parse": parse, "environment": names, "help": help, "example": example}
    return dataclasses.field(
        default=default, metadata={"setting": facts | traits}, repr=not traits.get("secret", False)
    )


def unused(name: str, variable: str, why: str) -> Setting:
    """What old deployments may set, to any value; it has no effect."""
    help = f"Accepted and not used: {why}."
    return Setting(name, "old deployments", str, None, (variable,), help, "any", used=False)


def declared(record: type[Any]) -> tuple[Setting, ...]:
    """The settings of a record, in the order of its fields."""
    return tuple(
        Setting(name=field.name.replace("_", "-"), default=field.default, **field.metadata["setting"])
        for field in dataclasses.fields(record)
        if "setting" in field.metadata
    )


def from_options(settings: Iterable[Setting], options: Mapping[str, Sequence[str]]) -> dict[str, Given]:
    """What the command line sets."""
    return {
        one.name: Given(tuple(options[one.name]), f"the option --{one.name}")
        for one in settings
        if one.name in options
    }


def from_environment(settings: Iterable[Setting], environment: Mapping[str, str]) -> dict[str, Given]:
    """What the environment sets; an empty variable counts as unset unless the setting says otherwise."""
    found: dict[str, Given] = {}
    for one in settings:
        for variable in one.environment:
            text = environment.get(variable)
            if text is None or not (text.strip() or one.blank) or (one.used and is_ambient(one, text)):
                continue
            texts = tuple(text.split()) if one.many else (text,)
            found.setdefault(one.name, Given(texts, f"the environment variable {variable}"))
    return found


def is_ambient(one: Setting, text: str) -> bool:
    """Whether a variable's value is not meant for this server."""
    return one.ambient is not None and one.ambient(text.strip())


def from_file(settings: Iterable[Setting], path: Path) -> Collected:
    """What a TOML file sets. Raises :class:`BadSetting` for an unreadable file."""
    known = {one.name: one for one in settings}
    meant = {alias: one.name for one in known.values() for alias in (*one.environment, one.field, one.name)}
    given: dict[str, Given] = {}
    unknown = []
    for key, value in _toml(path).items():
        if key in known:
            given[key] = _given(known[key], value, path)
        elif isinstance(value, dict):
            unknown.append(
                f"{path} has a table {key!r:.50}, but settings stand in none: nothing in it has an effect"
            )
        else:
            unknown.append(f"{path} sets {key!r:.50}, which is no setting{did_you_mean(key, meant)}")
    return Collected(given, tuple(unknown))


def did_you_mean(name: str, known: Mapping[str, str]) -> str:
    """The question after a wrong name, with the right one as ``known`` has it; empty if none is like it."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {known[near[0]]}?" if near else ""


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise BadSetting(f"config: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        where = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8"
        raise BadSetting(f"config: {path} is not a TOML file: {where}") from None


def _given(one: Setting, value: Any, path: Path) -> Given:
    """A value of the file as the texts that an option would have had."""
    values = value if one.many and isinstance(value, list) else [value]
    origin = f"the file {path}"
    if not all(isinstance(item, str | int | float) for item in values):
        return Given((), origin, f"{one.name}: {path} must give it as a text or a number{_example(one)}")
    return Given(tuple(_written(item) for item in values), origin)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def evaluate(one: Setting, given: Given) -> Any:
    """The setting's value; raises :class:`BadSetting`."""
    if given.wrong:
        raise BadSetting(given.wrong)
    values = tuple(_parsed(one, text, given.origin) for text in given.texts)
    return values if one.many else values[-1]


def _parsed(one: Setting, text: str, origin: str) -> Any:
    try:
        value = one.parse(text if one.verbatim else text.strip())
        if not (isinstance(value, Path) or _is_utf8(text)):
            raise ValueError("be UTF-8 text")
    except ValueError as error:
        shown = "the value" if one.secret else repr(text)
        told = ", without quotation marks around it" if in_quotes(text) else ""
        raise BadSetting(f"{one.name}: {shown} from {origin} must {error}{told}{_example(one)}") from None
    return value


def _is_utf8(text: str) -> bool:
    """Whether a text was UTF-8 outside; names of files may be anything."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_quotes(text: str) -> bool:
    """Whether quotation marks came along that were meant for a shell, as with ``docker run --env-file``."""
    return re.fullmatch(r"""\s*(["']).*\1\s*""", text, re.DOTALL) is not None


def _example(one: Setting) -> str:
    return f", for example {one.example}"

"""Settings for people: where each value came from, what is wrong with them, and a file to begin with."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from happy.settings.config import SHOWN, Config
from happy.settings.declaration import GROUPS, BadSetting, Given, Setting, evaluate
from happy.settings.effects import half_set
from happy.settings.loading import collected, load
from happy.settings.misspelt import misspelt

MASKED = "********"
DEFAULT = "the default"
_ADDRESS = re.compile(
    r"(?P<scheme>postgres(ql)?://)((?P<user>[\w.~%-]*)(?P<password>:[^:@/?#\[\]]*)?@)?"
    r"(?P<place>([\w.-]*|\[[0-9a-fA-F:.]+\])(:[0-9]*)?(/[\w.~%-]*)?)(?P<query>\?.*)?",
    re.ASCII,
)
"""An address of which it is certain what is the password; one with marks that should be escaped is not."""


class Explained(NamedTuple):
    """A setting with its value as text, empty for none, and where that came from."""

    name: str
    value: str
    source: str


class Findings(NamedTuple):
    """All settings; what a start would say of them; and why it would not serve, a line for each reason."""

    settings: list[Explained]
    warnings: list[str]
    refusals: list[str]


def explain(options: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Findings:
    """What :func:`~happy.settings.loading.load` makes of these sources."""
    warnings = misspelt(environment)
    try:
        given, unknown = collected(options, environment)
    except BadSetting as wrong:
        return Findings([], warnings, [str(wrong)])
    warnings += unknown
    settings = [_explained(one, given.get(one.name)) for one in SHOWN if one.used or one.name in given]
    try:
        config = load(options, environment)
    except BadSetting as wrong:
        return Findings(settings, warnings, _all_wrong(given) or [str(wrong)])
    return Findings(settings, [*warnings, *_vain(config, given), *half_set(config)], [])


def _explained(one: Setting, given: Given | None) -> Explained:
    if given is None:
        return Explained(one.name, one.default_text, DEFAULT)
    text = " ".join(given.texts) if one.many else (given.texts or ("",))[-1]
    return Explained(one.name, masked(one, text.strip()) if text else text, given.origin)


def masked(one: Setting, text: str) -> str:
    """The text as it may be shown: of secrets nothing, but of the database's address what is no password."""
    if not one.secret:
        return text
    found = _ADDRESS.fullmatch(text) if one.name == "database-url" else None
    if found is None:
        return MASKED
    password = f":{MASKED}" if found["password"] else ""
    login = f"{found['user']}{password}@" if found["user"] is not None else ""
    return f"{found['scheme']}{login}{found['place']}{'?...' if found['query'] else ''}"


def _all_wrong(given: Mapping[str, Given]) -> list[str]:
    """A line about each value that is not accepted."""
    lines = []
    for one in SHOWN:
        try:
            if one.used and one.name in given:
                evaluate(one, given[one.name])
        except BadSetting as wrong:
            lines.append(str(wrong))
    return lines


def _vain(config: Config, given: Mapping[str, Given]) -> list[str]:
    known = {one.name: one for one in SHOWN}
    lines = []
    for name in config.without_effect:
        where = f" from {given[name].origin}" if name in given else ""
        needs = known[name].needs if name in known else ""
        lines.append(f"{name}{where} has no effect{f' without {needs}' if needs else ''}")
    return lines


def example() -> str:
    """A configuration file in which every setting stands as a comment, with what it means."""
    lines = [
        "# Settings of Happy server. Remove the # before what you want to change; options on the command"
    ]
    lines += [
        "# line and environment variables win over this file. happyctl config check says what holds.",
        "",
    ]
    for group in GROUPS:
        shown = [one for one in SHOWN if one.group == group and one.used and one.name != "config"]
        if not shown:
            continue
        lines += [f"## {group.capitalize()}", ""]
        for one in shown:
            lines += [f"# {one.help}", f"#{one.name} = {toml(one)}", ""]
    return "\n".join(lines)


def toml(one: Setting) -> str:
    """The default of a setting, or else its example, as the file has it."""
    text = one.default_text or one.example
    if one.many:
        return f"[{json.dumps(text)}]"
    plain = isinstance(one.default, bool) or text.isdecimal()
    return text if plain else json.dumps(text, ensure_ascii=False)

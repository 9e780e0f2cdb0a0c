"""What all commands of happyctl have in common: options, output, exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console, ConsoleRenderable

from happy.operator.deployment import Deployment
from happy.operator.trouble import FINE, Misused

F = TypeVar("F", bound=Callable[..., Any])

_WHERE = {
    "config": ("FILE", "File with the server's settings."),
    "data-dir": ("FOLDER", "Folder with everything that the server keeps."),
    "database-url": ("URL", "The database, where it is not the embedded one."),
}
"""The settings by which a server is found, with what the help says of them."""
_UNTIDY = 10_000
"""Columns where nobody looks: programs that read text want a line a row."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command has to say: a document for programs, text for people, and the exit status."""

    document: Any
    text: Sequence[str | ConsoleRenderable] = ()
    status: int = FINE


def where() -> list[click.Parameter]:
    """The options that say which server is meant."""
    return [
        click.Option([f"--{name}", name.replace("-", "_")], metavar=metavar, help=help)
        for name, (metavar, help) in _WHERE.items()
    ]


class Tool(click.Command):
    """A command about a server.

    Its function gets the :class:`Deployment` with ``click.pass_obj``, and answers what is :class:`Shown`, or
    None when it has shown everything itself. ``examples`` are command lines without the program's name.
    """

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **named: Any) -> None:
        as_json = click.Option(
            ["--json", "as_json"], is_flag=True, help="One JSON document; times in ms, sizes in bytes."
        )
        named["params"] = [*named.get("params", ()), *where(), as_json]
        if examples:
            named["epilog"] = "\b\nExamples:\n" + "\n".join(f"  happyctl {line}" for line in examples)
        super().__init__(*arguments, **named)

    def invoke(self, ctx: click.Context) -> int:
        """Run the function, show what it answers; the exit status."""
        given = {**_chosen(ctx.find_root().params), **_chosen(ctx.params)}
        as_json = ctx.params.pop("as_json")
        for name in _WHERE:
            ctx.params.pop(name.replace("-", "_"))
        ctx.obj = Deployment(given)
        ctx.meta["happyctl.json"] = as_json
        shown = super().invoke(ctx)
        if not isinstance(shown, Shown):
            return int(shown or FINE)
        show(shown, as_json=as_json)
        return shown.status


class Family(click.Group):
    """Commands under one name; the one called ``default`` runs when none is named."""

    def __init__(self, *arguments: Any, default: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the default command where the line does not."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self._default, *args]
        return super().parse_args(ctx, args)


def _chosen(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """The settings among a command's parameters."""
    found = {name: params.get(name.replace("-", "_")) for name in _WHERE}
    return {name: [str(value)] for name, value in found.items() if value is not None}


def show(shown: Shown, *, as_json: bool) -> None:
    """Write to the standard output."""
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(shown.document), indent=2).decode()
        click.echo(text)
        return
    for part in shown.text:
        click.echo(_tidy(part if isinstance(part, str) else _rendered(part)))


def _rendered(part: ConsoleRenderable) -> str:
    console = terminal()
    with console.capture() as written:
        console.print(part)
    return "\n".join(line.rstrip() for line in written.get().splitlines())


def _tidy(text: str) -> str:
    """A text that does nothing to a terminal: some of its names were chosen by clients."""
    return text if text.isascii() and text.isprintable() else "".join(map(_harmless, text))


def _harmless(character: str) -> str:
    return character if character.isprintable() or character == "\n" else "\ufffd"


def terminal() -> Console:
    """The standard output, for what people read."""
    return Console(width=None if sys.stdout.isatty() else _UNTIDY)


def destroys(function: F) -> F:
    """Add what every command has that destroys something: ``yes`` and ``dry_run`` for :func:`agreed`."""
    function = click.option("--dry-run", is_flag=True, help="Only say what would go.")(function)
    return click.option("--yes", is_flag=True, help="Do not ask.")(function)


def agreed(what: str, *, yes: bool, dry_run: bool) -> bool:
    """Whether to go on, after saying what will go. Raises Misused when there is nobody to ask."""
    if dry_run or yes:
        return not dry_run
    if not sys.stdin.isatty():
        raise Misused(f"{what}; say --yes to do it, or --dry-run to see what would go")
    return click.confirm(f"{what}. Go on?", err=True)

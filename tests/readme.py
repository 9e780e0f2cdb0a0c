"""What README and docs/settings.md are held to; ``python -m tests.readme`` writes their tables anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from happy.settings.config import SHOWN
from happy.settings.declaration import GROUPS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->\n"
HEADINGS = ("Option", "Environment variable", "Default", "Meaning", "Example")


def table(group: str) -> str:
    """The settings of a group in Markdown."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS)]
    for one in SHOWN:
        if one.group == group:
            variables = " or ".join(f"`{variable}`" for variable in one.environment)
            default = f"`{one.default_text}`" if one.default_text else ""
            rows.append((f"`--{one.name}`", variables, default, one.help, f"`{one.example}`"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def everyday_table() -> str:
    """The settings that most people need."""
    return table("everyday")


def every_table() -> str:
    """All settings, in their groups."""
    return "".join(f"\n## {group.capitalize()}\n\n{table(group)}" for group in GROUPS) + "\n"


WRITTEN: dict[Path, Callable[[], str]] = {README: everyday_table, ROOT / "docs" / "settings.md": every_table}
"""The documents with generated tables, and what stands in them."""


def present_tables(text: str) -> str:
    """The tables that a document has."""
    return text.partition(BEGIN)[2].partition(END)[0]


def command_lines(text: str) -> list[str]:
    """The command lines that set something up, in order: the one that serves, the one that tests."""
    return re.findall(r"^ *(python3 -m venv .*)$", text, re.MULTILINE)


if __name__ == "__main__":
    for page, tables in WRITTEN.items():
        old = page.read_text()
        page.write_text(old.replace(BEGIN + present_tables(old) + END, BEGIN + tables() + END))

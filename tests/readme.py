"""What the README is held to; ``python -m tests.readme`` writes its table of settings anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from happy.settings.config import SETTINGS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->\n"
HEADINGS = ("Option", "Environment variable", "Default", "Meaning", "Example")


def settings_table() -> str:
    """The table of every setting in Markdown."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS)]
    for one in SETTINGS:
        variables = " or ".join(f"`{variable}`" for variable in one.environment)
        rows.append((f"`--{one.name}`", variables, _default(one.default), one.help, f"`{one.example}`"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _default(value: Any) -> str:
    if value in (None, "", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def present_table(text: str) -> str:
    """The table that the README has."""
    return text.partition(BEGIN)[2].partition(END)[0]


def command_lines(text: str) -> list[str]:
    """The command lines that set something up, in order: the one that serves, the one that tests."""
    return re.findall(r"^ *(python3 -m venv .*)$", text, re.MULTILINE)


if __name__ == "__main__":
    old = README.read_text()
    README.write_text(old.replace(BEGIN + present_table(old) + END, BEGIN + settings_table() + END))

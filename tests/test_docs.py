"""Links between the documents, and from them to the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


def anchors(page: Path) -> set[str]:
    """What a page's headings can be linked as."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """Every link into the repository leads to a file, and to a heading where it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name) if name else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_everything_is_linked() -> None:
    """README leads to every document, and README or a document to every picture."""
    text = (ROOT / "README.md").read_text()
    pages = list((ROOT / "docs").glob("*.*"))
    written = "".join(page.read_text() for page in pages if page.suffix == ".md")
    shown = {page for page in pages if page.suffix in (".png", ".svg") and f"({page.name})" in written}
    missing = [page.name for page in pages if page not in shown and f"docs/{page.name}" not in text]
    assert missing == []


def test_modules() -> None:
    """Every module on the ways of a message, a request and the like is there."""
    named = re.findall(r"`((?:\w+/)+\w+\.py)\b", (ROOT / "docs" / "architecture.md").read_text())
    assert [name for name in named if not ((ROOT / name).exists() or (ROOT / "happy" / name).exists())] == []

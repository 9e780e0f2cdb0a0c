"""What ships for those who watch servers: it names what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from happy.logs.events import Refused
from happy.metrics import Metrics

PACKAGING = Path(__file__).parents[1] / "packaging"
BOARD = PACKAGING / "monitoring" / "grafana.json"
ALERTS = PACKAGING / "monitoring" / "alerts.yml"

_QUERY_WORDS = re.compile(r"\b(?:happy|http|websocket|session|machine|rpc|database|process|redis)_[a-z_]+\b")


def exported() -> set[str]:
    """The names that a scrape may find."""
    names = {"process_resident_memory_bytes"}
    for family in Metrics().registry.collect():
        names |= {family.name, f"{family.name}_total"}
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
    return names


@pytest.mark.parametrize("file", [BOARD, ALERTS], ids=lambda file: file.name)
def test_metrics_exist(file: Path) -> None:
    """Every metric that a query names is one of the server's."""
    named = set(_QUERY_WORDS.findall(file.read_text()))
    assert len(named) > 5
    assert named <= exported()


def test_board() -> None:
    """The board is whole: every panel has a query, and asks the source that was chosen."""
    board = json.loads(BOARD.read_text())
    assert len(board["panels"]) > 10
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["expr"] for target in panel["targets"])


def test_alerts() -> None:
    """Every rule says what is wrong, and how bad that is."""
    text = ALERTS.read_text()
    rules = text.count("- alert:")
    assert rules == text.count("expr:") == text.count("severity:") == text.count("summary:") > 5


def test_filter() -> None:
    """The filter for fail2ban knows every reason of a refusal, and finds the address in a line."""
    text = (PACKAGING / "fail2ban-filter.conf").read_text()
    pattern = re.search("failregex = (.*)", text)
    assert pattern is not None
    found = re.compile(pattern[1].replace("<SUBNET>", r"(?P<subnet>[0-9a-f.:]+(?:/\d+)?)"))
    for reason in get_args(Refused):
        for address in ("192.0.2.1", "2001:db8::/64"):
            # fail2ban takes the time off before it compares
            match = found.match(f" refused {address}: {reason}")
            assert match is not None
            assert match["subnet"] == address
    assert not found.match(" refused 192.0.2.1: something else")

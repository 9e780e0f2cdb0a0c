"""``happyctl config``."""

from __future__ import annotations

import click

from happy.operator.deployment import Deployment
from happy.operator.frame import Shown, Tool
from happy.operator.text import table
from happy.operator.trouble import FAILED, FINE, Misused
from happy.settings.explained import MASKED, Explained, example


@click.group("config", help="The settings of a server.")
def config() -> None:
    """Nothing of its own."""


@config.command("check", cls=Tool, examples=["config check", "config check --config happy.toml --json"])
@click.pass_obj
def check(deployment: Deployment) -> Shown:
    """Show every setting with its value and where that came from.

    Says what is unknown, set by half or has no effect, and what would keep the server from starting. Nothing
    is started.
    """
    findings = deployment.findings()
    settings = [_with_secret(deployment, one) for one in findings.settings]
    warnings = [*findings.refusals, *findings.warnings]
    document = {"settings": [one._asdict() for one in settings], "warnings": warnings}
    rows = [(one.name, one.value, one.source) for one in settings]
    text = [table(("setting", "value", "source"), rows)] if rows else []
    said = [f"FAIL {line}" for line in findings.refusals] + [f"warn {line}" for line in findings.warnings]
    status = FAILED if findings.refusals else FINE
    return Shown(document, [*text, *(said or ["Nothing is wrong with the settings."])], status)


def _with_secret(deployment: Deployment, one: Explained) -> Explained:
    """The master secret that the data folder has, where none is set."""
    if one.name != "master-secret" or one.value:
        return one
    try:
        file = deployment.config.data_dir / "master-secret"
    except Misused:
        return one
    return Explained(one.name, MASKED, f"the file {file}") if file.exists() else one


@config.command("example", cls=Tool, examples=["config example > happy.toml"])
def show_example() -> Shown:
    """Write a configuration file in which every setting is explained."""
    text = example()
    return Shown({"file": text}, [text])

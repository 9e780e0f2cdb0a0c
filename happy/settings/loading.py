"""Making the record of the settings' values from what was given: options, environment, file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from happy.settings.ambient import ambient
from happy.settings.config import SETTINGS, SHOWN, UNUSED, Config
from happy.settings.consistency import check
from happy.settings.declaration import (
    BadSetting,
    Collected,
    evaluate,
    from_environment,
    from_file,
    from_options,
)
from happy.settings.effects import divided
from happy.settings.endpoints import tcp
from happy.settings.weak_secrets import WEAK, is_weak

_KNOWN = (*SETTINGS, *UNUSED)
_BY_NAME = {one.name: one for one in SETTINGS}


def load(options: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Config:
    """The configuration: an option wins over the environment, that over the file, that over the default.

    ``options`` has the texts given on the command line, by setting name. Raises :class:`BadSetting`.
    """
    given, unknown = collected(options, environment)
    unmeant = ambient(_KNOWN, environment, given)
    given, idle = divided(_KNOWN, given)
    config = Config(
        **{one.field: evaluate(one, given[one.name]) for one in SETTINGS if one.name in given},
        without_effect=idle + unmeant,
        unknown=unknown,
    )
    if config.master_secret and is_weak(config.master_secret) and not config.allow_weak_secret:
        raise BadSetting(f"master-secret: the value from {given['master-secret'].origin} {WEAK}")
    check(config, _BY_NAME)
    return config if config.listen else replace(config, listen=(tcp(config.host, config.port),))


def collected(options: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Collected:
    """The texts that hold, by setting name, whatever is in them. Raises :class:`BadSetting` for a file."""
    given = from_environment(_KNOWN, environment) | from_options(_KNOWN, options)
    if "config" not in given:
        return Collected(given)
    file = evaluate(_BY_NAME["config"], given["config"])
    found = from_file((one for one in SHOWN if one.name != "config"), file)
    return Collected(found.given | given, found.unknown)

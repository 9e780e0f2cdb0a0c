"""Which of the given values have an effect; those that have none are judged by nobody, and said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from happy.settings.declaration import Given, Setting, evaluate

if TYPE_CHECKING:
    from happy.settings.config import Config

_S3 = ("s3_access_key", "s3_secret_key", "s3_bucket")
"""What S3 cannot be used without."""


def divided(
    settings: Iterable[Setting], given: Mapping[str, Given]
) -> tuple[dict[str, Given], tuple[str, ...]]:
    """What of the given values has an effect, and the names of the settings whose value has none.

    Raises :class:`~happy.settings.declaration.BadSetting` for a wrong value of one that others need.
    """
    known = {one.name: one for one in settings}
    idle = tuple(name for name, one in known.items() if name in given and not _has_effect(one, known, given))
    return {name: value for name, value in given.items() if name not in idle}, idle


def _has_effect(one: Setting, known: Mapping[str, Setting], given: Mapping[str, Given]) -> bool:
    if not one.used or not one.needs:
        return one.used
    needed = known[one.needs]
    return bool(evaluate(needed, given[needed.name]) if needed.name in given else needed.default)


def half_set(config: Config) -> tuple[str, ...]:
    """A line about each service that some settings name, without those that it needs to work."""
    lines = []
    if config.github_client_id:
        lines += _lacking(
            config, "Accounts cannot be connected to GitHub", "github_client_secret", "github_redirect_url"
        )
    if config.s3_host and not has_whole_s3(config):
        lines += _lacking(config, "Files are neither taken nor given", *_S3)
    elif config.s3_host and not config.s3_public_url:
        lines += _lacking(config, "Pictures in S3 have addresses below the bucket's own", "s3_public_url")
    return tuple(lines)


def has_whole_s3(config: Config) -> bool:
    """Whether S3 can be used: nothing that it needs is missing."""
    return bool(config.s3_host) and all(getattr(config, field) for field in _S3)


def _lacking(config: Config, what: str, *fields: str) -> list[str]:
    lacking = [field.replace("_", "-") for field in fields if not getattr(config, field)]
    are = "is" if len(lacking) == 1 else "are"
    return [f"{what} until {' and '.join(lacking)} {are} set"] if lacking else []

"""The entry point ``happyctl``: tools for whoever runs a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

import happy
from happy.operator.accounts import accounts
from happy.operator.backup import backup, restore
from happy.operator.bench import bench
from happy.operator.cleanup import cleanup
from happy.operator.config import config
from happy.operator.devices import devices, revoke
from happy.operator.doctor import doctor
from happy.operator.drain import drain
from happy.operator.frame import where
from happy.operator.migrate import migrate
from happy.operator.push import push
from happy.operator.registration import registration
from happy.operator.secret import secret
from happy.operator.status import status
from happy.operator.trouble import FAILED, FINE, WRONG_USAGE, CommandFailed
from happy.operator.usage import usage

COMMANDS: list[click.Command] = [
    status,
    doctor,
    config,
    accounts,
    devices,
    revoke,
    registration,
    usage,
    push,
    drain,
    backup,
    restore,
    migrate,
    secret,
    cleanup,
    bench,
]
"""What happyctl can do, in the order of its help."""

_SHELLS = """\
Completion: eval "$(_HAPPYCTL_COMPLETE=bash_source happyctl)" in ~/.bashrc; zsh_source, or fish_source, in
other shells.
"""


class _Happyctl(click.Group):
    """The commands, in the order of their list."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return [str(command.name) for command in COMMANDS]


@click.group(
    cls=_Happyctl,
    name="happyctl",
    help="Tools for a Happy server. It is found as it finds its own settings: by options, environment, file.",
    epilog=_SHELLS,
    params=where(),
    commands={str(command.name): command for command in COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(happy.__version__, message="%(version)s")
def happyctl(**_: object) -> None:
    """Read by each command itself."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise CommandFailed("the folder that this was started in is gone; cd to another one") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 fine, 1 failed, 2 wrong usage, 3 server or database not reachable."""
    try:
        return int(happyctl.main(arguments, prog_name="happyctl", standalone_mode=False) or FINE)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "happyctl"
        return _failed(f"{_plain(error)}; {path} --help shows how it is used", WRONG_USAGE)
    except click.ClickException as error:
        return _failed(error.format_message(), FAILED)
    except CommandFailed as error:
        return _failed(str(error), error.status)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted", FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left has no reader
        return FAILED
    except OSError as error:
        return _failed(
            f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror), FAILED
        )


def _plain(error: click.UsageError) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    return message[:1].lower() + message[1:]


def _failed(why: str, status: int) -> int:
    click.echo(f"happyctl: {why}", err=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""Measurements on large data: ``python -m tests.scale`` and lists, startup, cleanup, backup or deletion.

Each makes a server of its own in a folder that is removed afterwards (``--folder`` says where). The
database needs about 0.5 KB a message; nothing is asserted, everything is printed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.operated import operated
from tests.scale import commands, deletion, lists, startup
from tests.scale.filling import Size


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("what", choices=["lists", "startup", "cleanup", "backup", "deletion"])
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=None, help="1,000,000; startup: 10,000,000")
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--scale", type=float, default=0.1, help="cleanup, backup, deletion: load meanwhile")
    parser.add_argument("--folder", type=Path, default=None, help="where the scratch folder goes")
    options = parser.parse_args()
    messages = options.messages or (10_000_000 if options.what == "startup" else 1_000_000)
    size = Size(sessions=options.sessions, messages=messages, machines=options.machines)
    with tempfile.TemporaryDirectory(prefix="happy-scale-", dir=options.folder) as folder:
        Path(folder).chmod(0o755)
        with operated(Path(folder), "--metrics-enabled=false", "--address-limit=0") as server:
            if options.what == "lists":
                server.start()
                lists.measure(server, size)
            elif options.what == "startup":
                startup.measure(server, size)
            elif options.what == "deletion":
                deletion.measure(server, size, options.scale)
            else:
                commands.measure(server, size, options.what, options.scale)


if __name__ == "__main__":
    main()

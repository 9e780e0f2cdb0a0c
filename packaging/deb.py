"""Build the Debian package: ``python3 packaging/deb.py [--python 3.11] [--architecture arm64] [FOLDER]``.

The program with everything it imports goes to ``/opt/happy-server``, laid out as a virtual environment on
the system's ``python3``; nothing of it is shared with the rest of the system. Compiled wheels fit one minor
version of Python, so a package is for one: that of this machine, unless ``--python`` names another.
Needs ``python3-venv`` and ``dpkg-deb``; what it imports while it builds goes into a scratch folder.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PACKAGING = Path(__file__).resolve().parent
SOURCE = PACKAGING.parent
LOCK = PACKAGING / "requirements.lock"
HOME = Path("opt/happy-server")

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""The names of processors: Debian's, and those in the names of wheels."""

GLIBC = ("2_35", "2_34", "2_28", "2_27", "2_26", "2_24", "2_17")
"""Versions of the C library that wheels may want: no newer than Debian 12's and Ubuntu 22.04's."""

PROGRAMS = {
    "twistd": "from twisted.scripts.twistd import run as main",
    "happyctl": "from happy.operator.ctl import main",
}
SHELLS = {
    "bash": "usr/share/bash-completion/completions/happyctl",
    "zsh": "usr/share/zsh/vendor-completions/_happyctl",
    "fish": "usr/share/fish/vendor_completions.d/happyctl.fish",
}
FILES = {
    "happy-server.service": ("lib/systemd/system/happy-server.service", 0o644),
    "happyctl": ("usr/bin/happyctl", 0o755),
    "happy-server": ("usr/sbin/happy-server", 0o755),
    "fail2ban-filter.conf": ("etc/fail2ban/filter.d/happy-server.conf", 0o644),
    # Not switched on by itself: it fails where the file that it watches is not there.
    "fail2ban-jail.conf": ("usr/share/doc/happy-server/examples/fail2ban-jail.conf", 0o644),
}
"""Where the files beside this one go, and with which mode."""
CONFIGURED = ("etc/happy/happy.toml", FILES["fail2ban-filter.conf"][0])
"""What belongs to the administrator: an upgrade asks before it replaces a file that was edited."""


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Run a program; what it printed. Raises ``CalledProcessError``; its errors go to the terminal."""
    whole = {**os.environ, **(environment or {})}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=whole).stdout


class Builder:
    """One build: for a version of Python, a processor, in a scratch folder with a Python of its own."""

    def __init__(self, python: str, architecture: str, scratch: Path) -> None:
        self.python = python
        self.architecture = architecture
        self.wheels = scratch / "wheels"
        self.tools = scratch / "tools"
        self.root = scratch / "root"
        run(sys.executable, "-m", "venv", self.tools)

    def build(self, folder: Path) -> Path:
        """Build the package into a folder; its path."""
        self.fetch_wheels()
        self.fill_environment()
        self.add_tools()
        self.place_files()
        self.document()
        return self.pack(folder)

    def pip(self, *arguments: str | Path) -> None:
        """Run pip of the scratch folder, quietly."""
        run(self.tools / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def target(self) -> Iterator[str]:
        """Options of pip for wheels that fit where the package goes."""
        yield from ("--python-version", self.python, "--implementation", "cp")
        for name in (*(f"manylinux_{glibc}" for glibc in GLIBC), "manylinux2014"):
            yield from ("--platform", f"{name}_{MACHINES[self.architecture]}")

    def fetch_wheels(self) -> None:
        """Fetch what the lock file names, each with the hash that it had then, and build our own wheel.

        Raises ``SystemExit`` where something had to be compiled here, which might not run elsewhere.
        """
        wanted = ("--no-deps", "--require-hashes", "--requirement", LOCK)
        self.pip("download", *wanted, "--dest", self.wheels, *self.target())
        for archive in [path for path in self.wheels.iterdir() if path.suffix != ".whl"]:
            self.pip("wheel", "--no-deps", "--wheel-dir", self.wheels, archive)
            archive.unlink()
        self.pip("wheel", "--no-deps", "--wheel-dir", self.wheels, SOURCE)
        for wheel in self.wheels.glob("*-linux_*.whl"):
            raise SystemExit(f"{wheel.name} was compiled here: no wheel of it fits {self.architecture}")

    def fill_environment(self) -> None:
        """Lay out the virtual environment."""
        home = self.root / HOME
        packages = home / f"lib/python{self.python}/site-packages"
        exactly = ("--no-deps", "--no-index", "--no-compile", "--only-binary", ":all:")
        wheels = sorted(self.wheels.glob("*.whl"))
        self.pip("install", *exactly, "--target", packages, *self.target(), *wheels)
        # These name the Python of the scratch folder.
        shutil.rmtree(packages / "bin", ignore_errors=True)
        (home / "bin").mkdir()
        (home / "bin/python3").symlink_to(f"/usr/bin/python{self.python}")
        settings = ("home = /usr/bin", "include-system-site-packages = false", f"version = {self.python}")
        (home / "pyvenv.cfg").write_text("\n".join(settings) + "\n")
        for name, imported in PROGRAMS.items():
            script = f"#!/{HOME}/bin/python3\nimport sys\n\n{imported}\n\nsys.exit(main())\n"
            self.write(HOME / "bin" / name, script, 0o755)

    def add_tools(self) -> None:
        """Install the program into the scratch folder, where it describes itself."""
        self.pip("install", "--require-hashes", "--requirement", LOCK)
        self.pip("install", "--no-deps", *self.wheels.glob("happy_server-*.whl"))
        self.pip("install", "click-man>=0.5.1")

    def place_files(self) -> None:
        """Put the files beside this one where they belong, and a commented file of settings."""
        for name, (place, mode) in FILES.items():
            self.write(place, (PACKAGING / name).read_text(), mode)
        example = run(self.tools / "bin/happyctl", "config", "example")
        placed, found = re.subn("^#data-dir = .*", 'data-dir = "/var/lib/happy"', example, flags=re.MULTILINE)
        if found != 1:
            raise SystemExit("the example of settings names no folder for the data")
        self.write("etc/happy/happy.toml", placed, 0o640)
        self.write("usr/share/doc/happy-server/copyright", (SOURCE / "LICENSE").read_text())

    def document(self) -> None:
        """Make the manual pages and the completion of the shells from the command itself."""
        pages = self.tools / "pages"
        pages.mkdir()
        run(self.tools / "bin/click-man", "happyctl", "--target", pages)
        shutil.copy(PACKAGING / "happy-server.8", pages)
        for page in sorted(pages.iterdir()):
            section = page.suffix[1:]
            self.write_bytes(
                f"usr/share/man/man{section}/{page.name}.gz", gzip.compress(page.read_bytes(), mtime=0)
            )
        for shell, place in SHELLS.items():
            self.write(
                place, run(self.tools / "bin/happyctl", environment={"_HAPPYCTL_COMPLETE": f"{shell}_source"})
            )

    def pack(self, folder: Path) -> Path:
        """Write what dpkg reads, and make the archive."""
        version = self.version()
        control = (
            (PACKAGING / "debian/control")
            .read_text()
            .format(
                version=version,
                architecture=self.architecture,
                python=self.python,
                following=f"3.{int(self.python.partition('.')[2]) + 1}",
                size=sum(path.lstat().st_size for path in self.root.rglob("*")) // 1024,
            )
        )
        self.write("DEBIAN/control", control)
        self.write("DEBIAN/conffiles", "".join(f"/{name}\n" for name in CONFIGURED))
        for name in ("postinst", "prerm", "postrm"):
            self.write(f"DEBIAN/{name}", (PACKAGING / "debian" / name).read_text(), 0o755)
        folder.mkdir(parents=True, exist_ok=True)
        package = folder / f"happy-server_{version}_{self.architecture}.deb"
        run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", self.root, package)
        return package

    def version(self) -> str:
        """The version that this package has."""
        (wheel,) = self.wheels.glob("happy_server-*.whl")
        return in_debian_order(wheel.name.split("-")[1], self.python)

    def write(self, place: str | Path, text: str, mode: int = 0o644) -> None:
        """Write a text of the package."""
        self.write_bytes(place, text.encode(), mode)

    def write_bytes(self, place: str | Path, content: bytes, mode: int = 0o644) -> None:
        """Write a file of the package."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)


def in_debian_order(version: str, python: str) -> str:
    """A version as Debian orders them: what comes before a release has a tilde."""
    before = re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", version)
    return f"{before}-1+py{python.replace('.', '')}"


def main() -> None:
    """Read the command line, build, and say where the package is."""
    parser = argparse.ArgumentParser(description="Build the Debian package of the Happy server.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"), help="where it goes (dist)")
    ours = "{}.{}".format(*sys.version_info)
    parser.add_argument("--python", default=ours, help=f"the version of Python it is for ({ours})")
    parser.add_argument("--architecture", choices=MACHINES, default="amd64", help="the processor (amd64)")
    options = parser.parse_args()
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as scratch:
        package = Builder(options.python, options.architecture, Path(scratch)).build(options.folder)
    sys.stdout.write(f"{package}\n")


if __name__ == "__main__":
    main()

"""A server's life, told by the commands of its operator with what they say: ``packaging/life.sh`` runs it.

The machines are two roots of Debian packages in one network of their own, and the laptops of one person with
the published ``happy``. What docs/a-life.md shows was said here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from happy.client import Account, AccountKeys, Refused, RemoteServer, call_sealed, sign_in
from tests.live.computer import PATIENCE, Computer, soon

LOG = "/var/log/happy/said"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
UNIT = f"setpriv --reuid=happy --regid=happy --init-groups happy-server >>{LOG} 2>&1 &"
"""What the unit does: ExecStart, as its user. There is no systemd in a root of another machine's."""


def say(text: str) -> None:
    """Show."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Machine:
    """A machine that serves: a root, with the package or without it."""

    def __init__(self, root: Path, name: str, port: int) -> None:
        self.root = root
        self.name = name
        self.url = f"http://{name}.example:{port}"
        self._served: subprocess.Popen[bytes] | None = None

    def _in(self, command: str, **options: Any) -> subprocess.Popen[Any]:
        environment = {
            "PATH": PATH,
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "HOME": "/root",
        }
        line = ["chroot", str(self.root), "/bin/sh", "-c", f"cd; {command}"]
        return subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL, **options)

    def quietly(self, command: str) -> tuple[int, str]:
        """What a command answers with and says."""
        asked = self._in(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said, _ = asked.communicate(timeout=PATIENCE * 3)
        return asked.returncode, said.rstrip("\n")

    async def run(self, command: str, status: int | None = 0) -> str:
        """Run a command, and show it with what it says. Raises AssertionError for another exit status."""
        say(f"{self.name}# {command}")
        found, said = await deferToThread(self.quietly, command)
        if said:
            say(said)
        assert status in (None, found), f"exit status {found}"
        return said

    async def serve(self) -> None:
        """Start the server, until it is ready. Raises AssertionError if it ends before."""
        say(f"{self.name}# {UNIT}")
        self._served = self._in(f"exec {UNIT.removesuffix(' &')}")
        await until(lambda: self._answers() or self._served.poll() is not None)  # type: ignore[union-attr]
        assert self._served.poll() is None, self.quietly(f"cat {LOG}")[1]

    def _answers(self) -> bool:
        return self.quietly("happyctl status --json")[1].find('"ready": true') > 0

    async def stop(self) -> None:
        """Stop it as systemd does. Raises AssertionError unless it exits with 0."""
        assert self._served is not None
        say(f"{self.name}# kill -TERM {self._served.pid}; wait; echo $?")
        self._served.terminate()
        status = await deferToThread(self._served.wait, PATIENCE)
        say(f"{status}")
        assert status == 0


class Laptop:
    """A person's computer, with the published client."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.computer = Computer(Path("/home/ada") / name, url)

    def at(self, url: str) -> None:
        """Use another server from then on."""
        self.computer.use(url)

    async def run(self, *arguments: str, status: int = 0) -> str:
        """Run ``happy`` until it ends, and show what it says."""
        say(f"{self.name}$ happy {' '.join(arguments)}".rstrip())
        program = self.computer.run(*arguments)
        found = await soon(program.exit())
        say(program.text.strip("\n"))
        assert found == status, f"exit status {found}"
        return program.text

    async def pair(self, phone: Account, *options: str) -> None:
        """``happy auth login``, which the phone allows."""
        say(f"{self.name}$ happy auth login {' '.join(options)}".rstrip())
        say((await self.computer.pair(phone, *options)).text)

    def log(self) -> str:
        """The logs of its daemon and its programs."""
        return "\n".join(path.read_text() for path in sorted((self.computer.happy_home / "logs").iterdir()))


async def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for something that nobody tells. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not await deferToThread(true):
        assert time.monotonic() < deadline, "it did not come true"
        await deferLater(reactor, 0.1)  # type: ignore[arg-type]


class Life:
    """The machines, and one person with a phone and two computers."""

    def __init__(self, clock: Any, folder: Path, older: str, newer: str) -> None:
        self._clock = clock
        self._older, self._newer = (f"/srv/packages/{name}" for name in (older, newer))
        self.happy = Machine(folder / "happy", "happy", 3005)
        self.other = Machine(folder / "other", "other", 3006)
        self.laptop = Laptop("laptop", self.happy.url)
        self.tower = Laptop("tower", self.happy.url)

    def remote(self, machine: Machine) -> RemoteServer:
        """A server, as clients see it."""
        return RemoteServer(machine.url, self._clock)

    async def first_day(self) -> None:
        """Installed, started, and in use."""
        chapter("The first day")
        await self.happy.run(f"apt-get install -y {self._older}")
        await self.happy.run("ls -ld /etc/happy/happy.toml /var/lib/happy /var/log/happy")
        await self.happy.serve()
        await self.happy.run(f"cat {LOG}")
        await self.happy.run("curl -s http://happy.example:3005/; echo")
        self.phone = await sign_in(self.remote(self.happy), AccountKeys.generate())
        await self.laptop.pair(self.phone)
        await self.laptop.run("daemon", "start")
        await self.work(self.laptop)
        await self.happy.run("happyctl status")

    async def work(self, computer: Laptop) -> None:
        """A session on a computer, and messages in it."""
        machine = computer.computer.kept("settings.json")["machineId"]
        (found,) = [one for one in await self.phone.machines() if one.id == machine]
        watching = await self.phone.open_socket()
        try:
            asked = {"type": "spawn-in-directory", "directory": "/home/ada/work", "agent": "claude"}
            asked["approvedNewDirectoryCreation"] = True
            answer = await call_sealed(watching, found.cipher, f"{machine}:spawn-happy-session", asked)
            assert answer["type"] == "success", answer
        finally:
            await watching.close()
        (session,) = [one for one in await self.phone.sessions() if one.id == answer["sessionId"]]
        await self.phone.send_messages(session, [{"role": "user", "content": str(n)} for n in range(20)])

    async def upgrade(self) -> None:
        """A newer version, whose start changes tables."""
        chapter("Upgrade")
        await self.happy.stop()
        await self.happy.run(f"apt-get install -y {self._newer}")
        await self.happy.run("happyctl migrate --dry-run")
        await self.happy.serve()
        await self.happy.run(f"tail -n 18 {LOG}")
        await self.happy.run("ls -l /var/lib/happy/backups")
        await self.happy.run("happyctl status")

    async def door(self) -> None:
        """Nobody else gets an account."""
        chapter("Close the door")
        await self.happy.run("happyctl doctor --url http://happy.example:3005")
        await self.happy.run("happyctl registration closed")
        try:
            await sign_in(self.remote(self.happy), AccountKeys.generate())
        except Refused as refused:
            say(f"# a stranger is answered {refused.status} {refused.body}")
        await self.happy.run("happyctl registration")

    async def devices(self) -> None:
        """A second computer comes, is seen, and is thrown out."""
        chapter("A second computer, and it is stolen")
        await self.tower.pair(self.phone)
        await self.tower.run("daemon", "start")
        await self.work(self.tower)
        id = self.phone.id[:10]
        await self.happy.run("happyctl accounts")
        await self.happy.run(f"happyctl devices {id}")
        await self.happy.run(f"tail -n 8 {LOG}")
        machine = self.tower.computer.kept("settings.json")["machineId"]
        await self.happy.run(f"happyctl revoke {id} --device {machine}")
        await self.happy.run(f"happyctl devices {id}")
        await self.happy.run(f"tail -n 4 {LOG}")
        await self.tower.run(status=1)
        await until(lambda: "onnection error" in self.tower.log())
        pattern = "Disconnected|reconnecting|onnection error"
        say(f"tower$ grep -Eh '{pattern}' $HAPPY_HOME_DIR/logs/*daemon.log")
        say("\n".join(line for line in self.tower.log().split("\n") if re.search(pattern, line)))
        await self.happy.run(f"tail -n 4 {LOG}")

    async def backup(self) -> None:
        """A copy that is proven, and put back on another machine."""
        chapter("Back up")
        await self.happy.run("happyctl backup /srv/backups --keep 7")
        await self.happy.run("ls -l /srv/backups")
        chapter("Restore elsewhere")
        (file,) = (self.happy.root / "srv/backups").iterdir()
        shutil.copy(file, self.other.root / "srv/backups")
        await self.other.run(f"apt-get install -y {self._newer}")
        await self.other.run("echo 'port = 3006' >>/etc/happy/happy.toml")
        await self.other.run("echo 'metrics-port = 9091' >>/etc/happy/happy.toml")
        await self.other.run(f"happyctl restore /srv/backups/{file.name}")
        await self.other.run("ls -l /var/lib/happy")
        await self.other.serve()
        await self.other.run(f"tail -n 1 {LOG}")
        await self.other.run("happyctl accounts")
        await self.laptop.run("daemon", "stop")
        self.laptop.at(self.other.url)
        await self.laptop.run("auth", "status")
        await self.laptop.run("daemon", "start")
        await self.other.run(f"tail -n 1 {LOG}")
        await self.laptop.run("daemon", "stop")
        self.laptop.at(self.happy.url)
        await self.laptop.run("daemon", "start")
        await self.other.stop()
        await self.other.run("rm -r /var/lib/happy/*")

    async def move(self) -> None:
        """One account goes to a server with a secret of its own."""
        chapter("Move one account")
        id = self.phone.id[:10]
        await self.happy.run(f"happyctl accounts export {id} /srv/backups/ada.tar")
        shutil.copy(self.happy.root / "srv/backups/ada.tar", self.other.root / "srv/backups")
        await self.other.serve()
        await self.other.run("happyctl registration closed")
        await self.other.run("happyctl accounts import /srv/backups/ada.tar")
        phone = await sign_in(self.remote(self.other), self.phone.keys)
        say(
            f"# ada's phone finds its account {phone.id == self.phone.id}, "
            f"with {len(await phone.sessions())} sessions"
        )
        self.tower.at(self.other.url)
        await self.tower.run("daemon", "stop")
        await self.tower.pair(phone, "--force")
        await self.tower.run("daemon", "start")
        await self.other.run(f"happyctl devices {id}")
        await self.other.run(f"tail -n 4 {LOG}")

    async def rotate(self) -> None:
        """Another master secret, and nobody is logged out."""
        chapter("Rotate the secret")
        await self.happy.run("happyctl secret rotate --dry-run")
        await self.happy.run("happyctl secret rotate --yes")
        await self.happy.run("happyctl doctor", status=None)
        await self.happy.stop()
        await self.happy.serve()
        await self.happy.run(f"tail -n 6 {LOG}")
        await self.happy.run("happyctl doctor", status=None)
        await until(lambda: "is online" in self.happy.quietly(f"tail -n 3 {LOG}")[1])
        await self.happy.run(f"tail -n 1 {LOG}")
        await self.laptop.run("notify", "-p", "hello")
        await self.work(self.laptop)

    async def last_day(self) -> None:
        """Room is made, and the server is emptied and stopped."""
        chapter("Clean up")
        await self.happy.run("happyctl usage")
        await self.happy.run("happyctl cleanup --inactive 90d --dry-run")
        await self.happy.run("happyctl cleanup --inactive 20s --dry-run")
        await self.happy.run("happyctl cleanup --inactive 20s --yes")
        await self.happy.run(f"happyctl accounts delete {self.phone.id[:10]} --dry-run")
        chapter("Drain and stop")
        await self.happy.run("happyctl drain --timeout 3")
        await self.happy.run("happyctl status")
        await self.happy.run("curl -s http://127.0.0.1:9090/ready; echo")
        await self.laptop.run("daemon", "stop")
        await self.happy.run("happyctl drain --timeout 3")
        await self.happy.stop()
        await self.happy.run("happyctl status", status=3)
        await self.happy.run("apt-get purge -y happy-server")

    async def live(self) -> None:
        """From the first day to the last."""
        await self.first_day()
        await self.upgrade()
        await self.door()
        await self.devices()
        await self.backup()
        await self.move()
        await self.rotate()
        await self.last_day()


def chapter(title: str) -> None:
    """Begin another part of the story."""
    say(f"\n## {title}\n")


async def main(clock: Any, folder: str, older: str, newer: str) -> None:
    """Live it."""
    await Life(clock, Path(folder), older, newer).live()


if __name__ == "__main__":
    react(main, sys.argv[1:])

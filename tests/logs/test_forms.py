"""How a line of the log looks, and how files begin anew."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from twisted.logger import FileLogObserver, Logger, textFileLogObserver
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile

from happy.logs.bounded import BoundedLog
from happy.logs.forms import give_form


def log_into(file: object, form: str) -> BoundedLog:
    """A log that writes into a file as twistd would, in a form."""
    log = BoundedLog(form=form)
    log.discreet = True
    log.write_to([textFileLogObserver(file)])  # type: ignore[arg-type]
    return log


def test_json() -> None:
    """An object a line, with an event's values beside the text, whatever is in them."""
    text = io.StringIO()
    log = log_into(text, "json")
    Logger("happy.logs.events.Events", observer=log).info(
        "Account {account} said {what}", event="x", account='a"\n{b}', what="y", secret="z"
    )
    Logger("twisted.web", observer=log).info("{peer} came", peer="192.0.2.1")
    Logger("happy.web", observer=log).failure("broken", Failure(ValueError("z")))
    ours, theirs, failure = [json.loads(line) for line in text.getvalue().splitlines()]
    assert ours.pop("time").endswith("Z")
    assert ours == {
        "level": "info",
        "message": 'Account a"\n{b} said y',
        "from": "happy.logs.events.Events",
        "event": "x",
        "account": 'a"\n{b}',
        "what": "y",
    }
    assert (theirs["message"], failure["level"]) == ("{peer} came", "critical")
    assert "ValueError" in failure["message"]
    assert "z" not in text.getvalue().replace("Z", "")


@pytest.mark.parametrize("form", ["text", "json"])
def test_journal(form: str, tmp_path: Path) -> None:
    """Each line into the journal begins with its priority, and has no time beside the journal's."""
    with (tmp_path / "stream").open("w+") as file:
        found = os.fstat(file.fileno())
        observer = textFileLogObserver(file)
        give_form(observer, form, f"{found.st_dev}:{found.st_ino}")
        log = BoundedLog()
        log.observers.append(observer)
        Logger("happy.web", observer=log).warn("first\nsecond")
        Logger("happy.web", observer=log).error("third")
        file.seek(0)
        lines = file.read().splitlines()
    if form == "text":
        assert lines == ["<4>first", "<4>second", "<3>third"]
    else:
        assert [(line[:3], json.loads(line[3:])["level"]) for line in lines] == [
            ("<4>", "warn"),
            ("<3>", "error"),
        ]


def test_elsewhere(tmp_path: Path) -> None:
    """What goes elsewhere than to the journal is as it always was, and so is an observer of another kind."""
    with (tmp_path / "file").open("w+") as file:
        observer = textFileLogObserver(file)
        before = observer.formatEvent
        give_form(observer, "text", "8:1")
        assert observer.formatEvent is before
    give_form(print, "json", "8:1")


@pytest.mark.parametrize("kind", ["twistd", "twist"])
def test_reopen(kind: str, tmp_path: Path) -> None:
    """After somebody moved the file away, the log goes on in a new one once it is told."""
    path = tmp_path / "log"
    file = LogFile.fromFullPath(str(path)) if kind == "twistd" else path.open("a")
    log = BoundedLog()
    log.write_to([FileLogObserver(file, lambda event: f"{event['log_format']}\n")])
    logger = Logger("happy.web", observer=log)
    logger.info("one")
    path.rename(tmp_path / "old")
    logger.info("two")
    log.reopen()
    logger.info("three")
    file.close()
    assert ((tmp_path / "old").read_text(), path.read_text()) == ("one\ntwo\n", "three\n")


def test_reopen_without_a_folder(tmp_path: Path) -> None:
    """Where there can be no new file, it goes on in the former."""
    folder = tmp_path / "logs"
    folder.mkdir()
    file = LogFile.fromFullPath(str(folder / "log"))
    (folder / "log").rename(tmp_path / "old")
    folder.rmdir()
    log = BoundedLog()
    log.write_to([FileLogObserver(file, lambda event: f"{event['log_format']}\n")])
    log.reopen()
    Logger("happy.web", observer=log).info("one")
    file.close()
    assert "one\n" in (tmp_path / "old").read_text()


def test_standard_output_stays() -> None:
    """What has no name of a file is left alone."""
    log = log_into(io.StringIO(), "text")
    log.reopen()

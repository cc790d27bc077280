"""What a command leaves in the store about itself: enough to redo it, and, while it runs, a sign of life."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import datbatch
from datbatch import __version__
from datbatch.cohort.ledger import Runs
from datbatch.config import Config
from datbatch.errors import DatbatchError
from datbatch.location import Location
from datbatch.progress import Progress

BEAT_SECONDS = 15.0
SILENT_SECONDS = 90.0
"""A record without a beat for so long is of a command that was killed."""
RUNNING, FINISHED, INTERRUPTED, FAILED, LOST = "running", "finished", "interrupted", "failed", "lost"


@dataclass
class CommandRecord:
    """The record of a command at work."""

    content: dict[str, Any]
    progress: Progress | None = None
    """What is counted now."""

    def watch(self, progress: Progress) -> Progress:
        """Show this progress to who asks from elsewhere."""
        self.progress = progress
        return progress

    def note(self, **facts: Any) -> None:
        """Add facts, of JSON types."""
        self.content.update(facts)

    def now(self) -> dict[str, Any]:
        """Give the record as of now."""
        state = {} if self.progress is None else {"progress": self.progress.state()}
        return self.content | {"last_sign": utc_now()} | state


@contextmanager
def recorded_command(
    store: Location, command: str, config: Config, *, started: float | None = None, **facts: Any
) -> Iterator[CommandRecord]:
    """Keep a record of a command in its store while it runs and after it.

    Parameters
    ----------
    store : Path
        Folder of the store, which exists.
    command : str
        Its name.
    config : Config
        All parameters; paths do not enter the record.
    started : float, optional
        When it began, by `time.monotonic`; now by default.
    **facts
        What else is needed to redo it, of JSON types, without paths.
    """
    # By the clock that nobody sets.
    started = time.monotonic() if started is None else started
    runs, begun = Runs(store), datetime.fromtimestamp(time.time() - (time.monotonic() - started), UTC)
    name = f"{begun:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
    record = CommandRecord(
        {
            "command": command,
            "started": begun.isoformat(timespec="seconds"),
            "outcome": RUNNING,
            "config": config.to_stored_dict(),
            "versions": dict(installed_versions()),
            "code_sha256": code_digest(),
            "machine": this_machine(),
            **facts,
        }
    )
    runs.write(name, record.now())
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            # A full disk ends the work with its own error, not the sign of life.
            with suppress(OSError):
                runs.write(name, record.now())

    thread = threading.Thread(target=beat, name="record", daemon=True)
    thread.start()
    outcome, code = FAILED, ""
    try:
        yield record
        outcome = FINISHED
    except KeyboardInterrupt:
        outcome = INTERRUPTED
        raise
    except DatbatchError as error:
        code = error.code
        raise
    finally:
        ended.set()
        thread.join()
        record.note(outcome=outcome, ended=utc_now(), seconds=round(time.monotonic() - started, 1))
        if code:
            record.note(error=code)
        with suppress(OSError):
            runs.write(name, record.now())


def outcome_of(content: Mapping[str, Any]) -> str:
    """Say what became of a command: one that says nothing any more was killed."""
    told = str(content.get("outcome", LOST))
    # A sign that is to come was given by a clock that was set back since: the living give another one soon.
    return LOST if told == RUNNING and abs(seconds_since(content.get("last_sign"))) > SILENT_SECONDS else told


def seconds_since(moment: Any) -> float:
    """Give the seconds since a moment in ISO format; infinite where it is none."""
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (TypeError, ValueError):
        return float("inf")


def utc_now() -> str:
    """Give the present time in ISO format."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def installed_versions() -> Mapping[str, str]:
    """Give the versions of Python, of datbatch, and of every package that it names as needed."""
    found = {"python": platform.python_version(), "datbatch": __version__}
    with suppress(metadata.PackageNotFoundError):
        for requirement in metadata.requires("datbatch") or ():
            named = re.match(r"[A-Za-z0-9._-]+", requirement)
            if named is not None and "extra ==" not in requirement:
                with suppress(metadata.PackageNotFoundError):
                    found[named[0]] = metadata.version(named[0])
    return found


@functools.cache
def code_digest() -> str:
    """Give the SHA-256 of all of datbatch's own code: another where a line was changed, whatever the version says."""
    root = Path(datbatch.__file__).parent
    content = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return content.hexdigest()


def this_machine() -> dict[str, Any]:
    """Describe the machine that the command runs on, without its name, which may be a hospital's."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(pages * page_bytes / 1e9, 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()

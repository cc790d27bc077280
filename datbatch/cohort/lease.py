"""The lock of a store on S3: an object that is made and renewed by conditional PUT, and found dead without any clock.

Its content names its holder by a random token, and a count that grows with every beat, so that the object's tag
changes. Whoever finds another's object is refused where the server wrote it within a minute, by the server's own
clock. Else the object is watched for some beats: one that is renewed is alive, whatever any clock says. It is taken
over only in place of the very tag that was watched, so that of many takers one gets it and a holder that woke up late
keeps it or knows. A holder of the same machine whose process is gone is not waited for.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datbatch import location
from datbatch.errors import StorageError, StoreInUseError
from datbatch.location import S3Location

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
WATCH_SECONDS = 25.0
"""Over two beats, by a clock of this process that nobody sets."""
_POLL_SECONDS = 1.0


@dataclass
class Lease:
    """A held lock."""

    place: S3Location
    lost: bool = False
    """Whether somebody else took it over: this process had stood still for over a minute."""
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _count: int = 0
    _tag: str = ""
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock and keep it alive.

        Raises
        ------
        StoreInUseError
            When another process holds it.
        """
        while not self._renew(None):
            with suppress(FileNotFoundError):
                found = location.stamp(self.place)
                self._refuse_the_living(found)
                if self._renew(found.tag):
                    break
                # Gone meanwhile: there is room. Else somebody was faster.
                location.stamp(self.place)
                raise StoreInUseError("another command is writing to the store")
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """End it; an object that is somebody else's stays."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(StorageError, FileNotFoundError):
            if not self.lost and location.stamp(self.place).tag == self._tag:
                location.remove(self.place)

    def _renew(self, instead_of: str | None) -> bool:
        self._count += 1
        content = json.dumps({"token": self._token, "count": self._count, "holder": _this_process()}).encode()
        written = location.create(self.place, content, instead_of=instead_of)
        if not written:
            # Perhaps only the answer was lost: no other process has this content.
            with suppress(FileNotFoundError):
                written = location.read(self.place)[0] == content
        if written:
            self._tag = location.stamp(self.place).tag
        return written

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                written = self._renew(self._tag)
            except (StorageError, FileNotFoundError):
                # The server doesn't answer: nobody else can take the lock meanwhile.
                continue
            if not written:
                self.lost = True
                # A real signal, as an operator's Ctrl-C, also wakes a process that sleeps.
                handled = callable(signal.getsignal(signal.SIGINT))
                os.kill(os.getpid(), signal.SIGINT if handled else signal.SIGTERM)
                return

    def _refuse_the_living(self, found: location.Stamp) -> None:
        """Return where the holder is dead, or the object has changed hands meanwhile."""
        if _is_gone(_holder(self.place)):
            return
        # Both times are the server's.
        probe = self.place.with_name(f"{self.place.name}.{uuid.uuid4().hex}")
        location.create(probe, b"")
        try:
            still = location.stamp(probe).modified - found.modified
        finally:
            location.remove(probe)
        if 0.0 <= still.total_seconds() < STALE_SECONDS:
            raise StoreInUseError(
                "another command is writing to the store, or was until a minute ago",
                "Wait until it has ended; if it was lost, call again in a minute.",
            )
        limit = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < limit:
            time.sleep(min(_POLL_SECONDS, WATCH_SECONDS))
            if location.stamp(self.place).tag != found.tag:
                raise StoreInUseError("another command is writing to the store")


def _holder(place: S3Location) -> dict[str, Any]:
    try:
        holder = json.loads(location.read(place)[0])["holder"]
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return {}
    return dict(holder) if isinstance(holder, dict) else {}


def _this_process() -> dict[str, Any]:
    return {"boot": _boot(), "process": os.getpid(), "began": _began(os.getpid())}


def _boot() -> str:
    """Tell this boot of this machine, and this space of process numbers, from all others, without a name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return hashlib.sha256(f"{boot} {Path('/proc/self/ns/pid').stat().st_ino}".encode()).hexdigest()[:16]
    except OSError:
        return ""


def _began(process: int) -> str:
    """Give when a process began, in ticks since the machine did; empty where there is none."""
    try:
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    except (OSError, IndexError):
        return ""


def _is_gone(holder: dict[str, Any]) -> bool:
    boot, process = holder.get("boot"), holder.get("process")
    return bool(boot) and boot == _boot() and isinstance(process, int) and _began(process) != holder.get("began")

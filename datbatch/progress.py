"""Progress on the operator's terminal: rate and time left, as one moving line or as single lines in a log."""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, TextIO

LINE_EVERY_SECONDS = 60.0
MOVE_EVERY_SECONDS = 0.2


class Progress:
    """Counts the finished items of one activity, and says how fast it is and how long it still takes.

    Parameters
    ----------
    activity : str
        What goes on, one word or two.
    total : int
        How many items there are.
    unit : str
        What an item is called.
    stream : text stream, optional
        Where to write; standard error by default, so that results on standard output stay clean.
    quiet : bool
        Whether to write nothing.
    """

    def __init__(
        self, activity: str, total: int, unit: str = "studies", *, stream: TextIO | None = None, quiet: bool = False
    ) -> None:
        self._activity, self._total, self._unit = activity, total, unit
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._moving = self._stream.isatty()
        self._start = self._shown = time.monotonic()
        self._width = 0
        self._note = ""
        self._steps: defaultdict[str, float] = defaultdict(float)
        self._worker = ""
        self._by_worker: Counter[str] = Counter()
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self.done = 0
        self.failed = 0

    def advance(
        self, count: int = 1, failed: int = 0, note: str = "", steps: Mapping[str, float] | None = None
    ) -> None:
        """Count items that ended, `failed` of them without result; `steps` are the seconds that each step took."""
        self.done += count
        self.failed += failed
        self._note = note
        for step, seconds in (steps or {}).items():
            self._steps[step] += seconds
        if self._worker:
            self._by_worker[self._worker] += count
        self.tick(MOVE_EVERY_SECONDS if self._moving else LINE_EVERY_SECONDS, last=self.done >= self._total)

    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Set how many items have ended, and the total where it was not known at the start."""
        self._total = self._total if total is None else total
        self.advance(done - self.done, note=note)

    def at(self, worker: str, seconds: float) -> None:
        """Say which worker finished the items counted next, and how long it took."""
        self._worker = worker
        self._busy_s[worker] += seconds

    def tick(self, every_s: float = LINE_EVERY_SECONDS, *, last: bool = False) -> None:
        """Show the state when it was not shown for `every_s` seconds, even if nothing ended since."""
        now = time.monotonic()
        if last or now - self._shown >= every_s:
            self._shown = now
            self._write(self.line(now - self._start, self._note))

    def line(self, seconds: float, note: str = "") -> str:
        """Describe the state after a number of seconds."""
        rate = self.done / seconds if seconds > 0 else 0.0
        parts = [f"{self._activity:<11} {self.done}/{self._total} {self._unit}"]
        if 0 < self.done < self._total:
            parts.append(f"{rate:.2f}/s, {duration((self._total - self.done) / rate)} left")
        elif self.done:
            parts.append(f"in {duration(seconds)}")
        if self.failed:
            parts.append(f"{self.failed} failed")
        rates = sorted(self.worker_rates().values())
        if len(rates) > 1:
            parts.append(f"{len(rates)} workers at {rates[0]:.2f} to {rates[-1]:.2f}/s each")
        if note:
            parts.append(note)
        return ", ".join(parts)

    def worker_rates(self) -> dict[str, float]:
        """Give the items that each worker does in a second of work."""
        return {
            worker: self._by_worker[worker] / seconds
            for worker, seconds in self._busy_s.items()
            if seconds > 0 and self._by_worker[worker]
        }

    def state(self) -> dict[str, Any]:
        """Give the state in JSON types, for a reader elsewhere."""
        seconds = time.monotonic() - self._start
        rate = self.done / seconds if seconds > 0 else 0.0
        left = (self._total - self.done) / rate if rate else None
        return {
            "activity": self._activity,
            "unit": self._unit,
            "done": self.done,
            "total": self._total,
            "failed": self.failed,
            "seconds": round(seconds, 1),
            "per_second": round(rate, 4),
            "seconds_left": None if left is None else round(left),
            "workers": {
                worker: {"done": self._by_worker[worker], "per_second": round(found, 4)}
                for worker, found in sorted(self.worker_rates().items())
            },
            "seconds_by_step": {step: round(spent, 1) for step, spent in self._steps.items()},
        }

    def close(self) -> None:
        """End the moving line."""
        if self._moving and self._width and not self._quiet:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, line: str) -> None:
        if self._quiet:
            return
        if self._moving:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Write a time span as people do: `42 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"

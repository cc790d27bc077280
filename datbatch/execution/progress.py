"""Progress on the operator's terminal: rate and time left, as one moving line or as single lines in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

LINE_EVERY_SECONDS = 15.0


class Progress:
    """Counts what is done of one activity and says how fast it goes and how long it still takes.

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
        self,
        activity: str,
        total: int,
        unit: str = "studies",
        *,
        stream: TextIO | None = None,
        quiet: bool = False,
    ) -> None:
        self._activity, self._total, self._unit = activity, total, unit
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._moving = self._stream.isatty()
        self._start = self._shown = time.monotonic()
        self._width = 0
        self.done = 0
        self.failed = 0

    def advance(self, count: int = 1, failed: int = 0, note: str = "") -> None:
        """Count items that ended, `failed` of them without result."""
        self.done += count
        self.failed += failed
        now = time.monotonic()
        if self._moving or self.done >= self._total or now - self._shown >= LINE_EVERY_SECONDS:
            self._shown = now
            self._write(self.line(now - self._start, note))

    def reach(self, done: int, total: int | None = None, note: str = "") -> None:
        """Tell how many items have ended, of how many where that was not known at the start."""
        self._total = self._total if total is None else total
        self.advance(done - self.done, note=note)

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
        if note:
            parts.append(note)
        return ", ".join(parts)

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
    """Write a time span as people do: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

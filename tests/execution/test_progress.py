"""Progress lines: rate, time left, failures; one line where nothing moves."""

from __future__ import annotations

import io

import pytest

from datbatch.execution.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (185, "3 min 05 s"), (3600, "1 h 00 min"), (7830, "2 h 10 min")],
)
def test_spans_are_written_as_people_do(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_line_says_rate_time_left_and_failures() -> None:
    progress = Progress("imaging", 40, quiet=True)
    progress.advance(10, failed=2)
    assert progress.line(5.0) == "imaging     10/40 studies, 2.00/s, 15 s left, 2 failed"


def test_a_log_gets_whole_lines_and_the_last_one_for_sure() -> None:
    log = io.StringIO()
    progress = Progress("train", 3, "epochs", stream=log)
    for _ in range(3):
        progress.advance(note="loss 0.1")
    progress.close()
    assert log.getvalue().splitlines()[-1].startswith("train       3/3 epochs, in ")
    assert "\r" not in log.getvalue()


def test_a_quiet_one_writes_nothing() -> None:
    log = io.StringIO()
    progress = Progress("scan", 1, stream=log, quiet=True)
    progress.advance()
    progress.close()
    assert log.getvalue() == ""

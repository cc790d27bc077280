"""Progress lines: rate, time left, failures; one line where nothing moves."""

import io

import pytest

from datbatch.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (185, "3 min 05 s"), (3600, "1 h 00 min"), (7830, "2 h 10 min")],
)
def test_spans_are_written_as_people_do(seconds, words) -> None:
    assert duration(seconds) == words


def test_a_line_says_rate_time_left_and_failures() -> None:
    progress = Progress("imaging", 40, quiet=True)
    progress.advance(10, failed=2)
    assert progress.line(5.0) == "imaging     10/40 studies, 2.00/s, 15 s left, 2 failed"


def test_a_log_gets_whole_lines_and_the_last_one_for_sure_and_nothing_of_a_quiet_one() -> None:
    log = io.StringIO()
    progress = Progress("train", 3, "epochs", stream=log)
    for _ in range(3):
        progress.advance(note="loss 0.1")
    progress.close()
    assert log.getvalue().splitlines()[-1].startswith("train       3/3 epochs, in ")
    assert "\r" not in log.getvalue()
    quiet = Progress("scan", 1, stream=(silent := io.StringIO()), quiet=True)
    quiet.advance()
    quiet.close()
    assert silent.getvalue() == ""


def test_a_log_gets_a_line_a_minute_also_while_nothing_ends(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr("datbatch.progress.time.monotonic", lambda: now[0])
    log = io.StringIO()
    progress = Progress("imaging", 100, stream=log)
    for second in range(181):
        now[0] = float(second)
        progress.tick()
    assert len(log.getvalue().splitlines()) == 3


def test_the_slowest_and_the_fastest_worker_are_named_by_their_rates() -> None:
    progress = Progress("imaging", 100, quiet=True)
    for worker, seconds in (("a", 5.0), ("b", 20.0), ("a", 5.0)):
        progress.at(worker, seconds)
        progress.advance(10)
    assert progress.worker_rates() == {"a": 2.0, "b": 0.5}
    assert "2 workers at 0.50 to 2.00/s each" in progress.line(20.0)

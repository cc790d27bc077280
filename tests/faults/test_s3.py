"""Killed in the middle of a run whose store lies on a real S3 server, and two drivers on it."""

import signal

from datbatch.cohort.store import key_path
from tests.faults.conftest import with_key_of
from tests.pipeline import (
    assert_same_content,
    call_command,
    granules_done,
    imaging_content,
    kill_group,
    run_command,
    start_command,
    wait_until,
)
from tests.s3_server import environment, failing_proxy


def test_kills_leave_no_trace_and_a_second_driver_is_refused(s3, cheap_whole, archive, config) -> None:
    store = s3 / "cohort.zarr"
    with_key_of(cheap_whole, key_path(store))
    command = ("run", archive, store, "--config", config, "--workers", 2)
    met = []
    for alone in (False, True, False):
        process, before = start_command(*command), granules_done(store)
        wait_until(lambda was=before: granules_done(store) > was or process.poll() is not None)  # noqa: B023
        met.append(process.poll() is None)
        if met[-1]:
            # It stands still, so that it cannot end before the second one has looked.
            process.send_signal(signal.SIGSTOP)
            assert call_command(*command, expect=1)["error"] == "store-in-use"
        if alone:
            # Its workers must notice by themselves; the next run starts while they do.
            process.kill()
            process.wait()
        else:
            kill_group(process)
    assert met[0], "the run had ended before it was killed"
    run_command(*command, expect=3)
    assert_same_content(imaging_content(store), imaging_content(cheap_whole))
    assert not call_command("verify", store)["damages"]


def test_a_run_through_failing_and_slow_answers_ends_with_the_same_bits(
    s3, s3_endpoint, cheap_whole, archive, config, monkeypatch
) -> None:
    store, failed = s3 / "cohort.zarr", []
    with_key_of(cheap_whole, key_path(store))

    def fault(number: int) -> tuple[int, float]:
        if number % 10 == 3:
            failed.append(number)
            return (500 if number % 20 == 3 else 503), 0.0
        return 0, 0.5 if number % 50 == 7 else 0.0

    with failing_proxy(s3_endpoint, fault) as endpoint, monkeypatch.context() as through:
        for name, value in environment(endpoint).items():
            through.setenv(name, value)
        run_command("run", archive, store, "--config", config, "--workers", 2, expect=3)
        assert not run_command("verify", store)["damages"]
    assert len(failed) > 20
    assert_same_content(imaging_content(store), imaging_content(cheap_whole))

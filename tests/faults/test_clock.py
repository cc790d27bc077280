"""A wall clock that is set forward by hours during a run, and back by days between runs, changes nothing.

Set back during a run, it makes the messages of Dask's streams wait for the time that was: such a run goes on only then,
or resumes when it is called again.

Not by libfaketime: up to 0.9.10 it refuses every wait by the monotonic clock as soon as only the wall clock is faked
(clock_nanosleep, so `time.sleep` too, fails with EINVAL, even at an offset of zero).
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datbatch.cohort.ledger import Runs
from datbatch.cohort.store import Store
from datbatch.stages.repair import verify_cohort
from tests.faults.conftest import with_key_of
from tests.pipeline import assert_same_content, imaging_content, run_command, start_command

pytestmark = pytest.mark.usefixtures("cheap_imaging")
JUMP_SECONDS = 3600


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let commands started from now on, and all their processes, see a wall clock that this sets."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a clock that can be set with")
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    source = Path(__file__).parent / "clock" / "clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)

    def jump(seconds: int) -> None:
        (tmp_path / "next").write_text(str(seconds))
        (tmp_path / "next").replace(offset)

    jump(0)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("CLOCK_OFFSET_FILE", str(offset))
    return jump


def test_a_clock_that_jumps_changes_nothing(tmp_path, archive, cheap_whole, config, set_clock) -> None:
    set_clock(-86_400)
    told = subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True).stdout
    assert abs(time.time() - 86_400 - int(told)) < 5, "the clock was not set: nothing was tried"
    own = with_key_of(cheap_whole, tmp_path / "store" / "cohort.zarr")
    process = start_command("run", archive, own, "--config", config, "--workers", 2)
    for seconds in range(-86_400, 400 * JUMP_SECONDS, JUMP_SECONDS):
        set_clock(seconds)
        time.sleep(0.3)
        if process.poll() is not None:
            break
    process.kill()
    assert process.returncode == 3
    # A day before all that was written, the participants are others, and then the first again.
    set_clock(-86_400)
    women = tmp_path / "participants.csv"
    women.write_text((archive / "participants.csv").read_text().replace(",M,", ",F,"))
    for table in (["--participants", women], []):
        assert run_command("run", archive, own, "--config", config, *table, expect=3)["processed"] == 0
        assert ("M" in set(Store(own).read_table("sex"))) is not bool(table)
    assert_same_content(imaging_content(own), imaging_content(cheap_whole))
    found = verify_cohort(own, quiet=True)
    assert (found.damages, found.orphans) == ([], [])
    records = Runs(own).read()
    assert [one["outcome"] for one in records] == ["finished"] * 3
    assert all(0 <= one["seconds"] < 600 for one in records), "the clock that was set measured how long it took"

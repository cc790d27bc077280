"""Two drivers on one store, and a driver at the end of its walltime: with real processes."""

import os
import signal
import subprocess

from datbatch.cohort.lock import lock_path
from tests.faults.conftest import STAND_IN
from tests.pipeline import PROGRAM, STUDIES, call_command, granules_done, wait_until, write_config


def test_a_second_driver_is_refused_and_one_that_is_told_to_end_hands_over(tmp_path, archive) -> None:
    own, config = tmp_path / "cohort.zarr", write_config(tmp_path / "config.toml", store={"granule_studies": 1})
    under_way = tmp_path / "under way"
    stand_in = {"DATBATCH_STAND_IN": "wait=.dcm", "DATBATCH_UNDER_WAY": str(under_way), "PYTHONPATH": str(STAND_IN)}
    process = subprocess.Popen(
        [PROGRAM, "run", str(archive), str(own), "--config", str(config), "--workers", "1"],
        env=os.environ | stand_in, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lock_path(own).exists)
    refused = call_command("run", archive, own, "--config", config, expect=1)
    assert refused["error"] == "store-in-use"
    wait_until(lambda: granules_done(own))
    under_way.unlink()
    wait_until(under_way.exists)
    before = granules_done(own)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 143
    assert "Call the same command again" in said
    assert not lock_path(own).exists()
    assert before < granules_done(own) < STUDIES, "what was under way was not finished, or more was begun"
    assert call_command("status", own)["stages"]["quantify"] == granules_done(own)

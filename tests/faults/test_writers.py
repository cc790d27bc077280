"""Two drivers on one store, and a driver at the end of its walltime: with real processes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

from datbatch.cohort.lock import lock_path
from datbatch.cohort.store import key_path
from tests.pipeline import PROGRAM, assert_same_content, config_text, imaging_content, run_command


def test_a_second_driver_is_refused_and_one_that_is_told_to_end_hands_over(
    tmp_path: Path, archive: Path, cohort: Path
) -> None:
    own, config = tmp_path / "cohort.zarr", tmp_path / "config.toml"
    config.write_text(config_text())
    shutil.copy(key_path(cohort), key_path(own))
    process = subprocess.Popen(
        [PROGRAM, "run", str(archive), str(own), "--config", str(config), "--workers", "1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    limit = time.monotonic() + 120
    # One granule is done and another under way.
    while not list((own / "ledger" / "quantify").glob("*/*.json")) and time.monotonic() < limit:
        time.sleep(0.05)
    refused = run_command("run", archive, own, "--config", config, expect=1)
    assert refused["error"] == "store-in-use"
    assert run_command("status", own)["stages"]["quantify"] >= 4
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 143
    assert "Call the same command again" in said
    assert not lock_path(own).exists()
    assert len(list((own / "ledger" / "quantify").glob("*/*.json"))) > 1, "the granule under way was not finished"
    run_command("run", archive, own, "--config", config, expect=3)
    assert_same_content(imaging_content(own), imaging_content(cohort))

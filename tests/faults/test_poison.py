"""A study that crashes, eats all memory or hangs is named; the others of its granule are done, to the same bits."""

import json
import os
import subprocess

import numpy as np

from datbatch import schema
from datbatch.archive import read_linkage
from datbatch.cohort.store import Store, linkage_path
from datbatch.errors import MemoryExceededError, TimeExceededError, WorkerLostError
from tests.faults.conftest import STAND_IN, with_key_of
from tests.pipeline import PROGRAM, call_command, imaging_content, write_config

CODES = {"segfault": WorkerLostError.code, "hunger": MemoryExceededError.code, "hang": TimeExceededError.code}


def test_poisonous_studies_are_named_and_the_rest_of_their_granule_is_saved(tmp_path, archive, cohort) -> None:
    own = with_key_of(cohort, tmp_path / "cohort.zarr")
    # One granule for all; a limit that a busy machine does not reach with a sound study.
    limits = {"study_seconds": 12.0, "study_gb": 1.0}
    config = write_config(tmp_path / "config.toml", store={"granule_studies": 32}, limits=limits)
    expected, files = imaging_content(cohort), read_linkage(linkage_path(cohort))
    done = [str(s) for s, state in zip(expected["study"], expected["status"], strict=True) if state == schema.DONE]
    victims = dict(zip(CODES, done, strict=False))
    poison = " ".join(f"{kind}={files[study][0]}" for kind, study in victims.items())
    ran = subprocess.run(
        [PROGRAM, "run", str(archive), str(own), "--config", str(config), "--workers", "1", "--json"],
        env=os.environ | {"DATBATCH_STAND_IN": poison, "PYTHONPATH": str(STAND_IN)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 3, ran.stderr
    assert "Traceback" not in ran.stderr
    found = imaging_content(own)
    codes = dict(zip(found["study"], found["error_code"], strict=True))
    assert {kind: codes[study] for kind, study in victims.items()} == CODES
    others = [index for index, study in enumerate(found["study"]) if study not in victims.values()]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name][others], values[others], err_msg=name)
    assert json.loads(ran.stdout)["failures"].keys() >= set(CODES.values())
    # What was poisonous by chance is mended by `retry`.
    call_command("retry", own, "--workers", 1, expect=3)
    assert set(Store(own).read_table("error_code")) == set(expected["error_code"])

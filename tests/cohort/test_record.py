"""What a command leaves in the store about itself, and what others see of it while it runs and after it was killed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datbatch.cohort import record as record_module
from datbatch.cohort.ledger import Runs
from datbatch.cohort.record import SILENT_SECONDS, outcome_of, recorded_command
from datbatch.cohort.store import Store
from datbatch.commands.store import command_lines
from datbatch.config import Config
from datbatch.errors import StoreError
from datbatch.progress import Progress


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return Store.create(tmp_path / "cohort.zarr", granule_studies=2).path


def test_a_command_at_work_is_seen_from_elsewhere_with_rate_workers_and_time_left(store, monkeypatch) -> None:
    monkeypatch.setattr(record_module, "BEAT_SECONDS", 0.01)
    with recorded_command(store, "run", Config(), workers=2) as record:
        progress = record.watch(Progress("imaging", 10, quiet=True))
        progress.at("cpu.1", 2.0)
        progress.advance(4, failed=1, steps={"read": 0.4})
        while "progress" not in Runs(store).read()[0] or not Runs(store).read()[0]["progress"]["done"]:
            pass
        (seen,) = Runs(store).read()
    assert outcome_of(seen) == "running"
    lines = "\n".join(command_lines(seen))
    assert "run under way, begun" in lines
    assert "imaging: 4/10 studies" in lines
    assert "left" in lines
    assert "1 failed" in lines
    assert "seconds a study: read 0.10" in lines
    assert "worker cpu.1: 4 done, 2.00/s" in lines


def test_what_a_run_left_is_enough_to_redo_it_and_names_no_machine_and_no_path(store) -> None:
    with recorded_command(store, "run", Config(), workers=2) as record:
        record.note(manifest_sha256="0" * 64)
    (left,) = Runs(store).read()
    assert left["outcome"] == "finished"
    assert left["config"] == Config().to_stored_dict()
    assert {"python", "datbatch", "numpy", "zarr", "numba"} <= left["versions"].keys()
    assert len(left["code_sha256"]) == 64
    assert left["machine"].keys() == {"system", "processor", "cores", "memory_gb"}
    assert left["started"] <= left["ended"]
    assert str(store.parent) not in json.dumps(left)


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [(StoreError("full"), "failed", "store-unusable"), (KeyboardInterrupt(), "interrupted", None)],
)
def test_an_error_ends_the_record_too(store, error, outcome, code) -> None:
    with pytest.raises(type(error)), recorded_command(store, "run", Config()):
        raise error
    (left,) = Runs(store).read()
    assert (left["outcome"], left.get("error")) == (outcome, code)


def test_a_command_without_sign_of_life_was_killed_whatever_became_of_the_clock() -> None:
    assert outcome_of({"outcome": "running", "last_sign": datetime.now(UTC).isoformat()}) == "running"
    for jump_seconds in (0.0, 3600.0, -3600.0):
        still = datetime.now(UTC) - timedelta(seconds=SILENT_SECONDS + 5 + jump_seconds)
        assert outcome_of({"outcome": "running", "last_sign": still.isoformat()}) == "lost"
        assert outcome_of({"outcome": "finished", "last_sign": still.isoformat()}) == "finished"


def test_a_damaged_record_hides_no_other(store) -> None:
    with recorded_command(store, "run", Config()):
        pass
    (store / "runs" / "20000101T000000Z-000000.json").write_text("{")
    assert [one["command"] for one in Runs(store).read()] == ["run"]

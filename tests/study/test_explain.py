"""One study: what it is compared with, what stands in its folder, what it does not load, and what is refused."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datbatch.archive import StudyFacts
from datbatch.classifier.folder import NORMAL_RANGE_FILE
from datbatch.cohort.store import Store, models_path
from datbatch.config import Config, QuantifyConfig
from datbatch.errors import ModelError, NormalRangeError
from datbatch.imaging import Binding
from datbatch.norms import KeptRange
from datbatch.study.certainty import read_certainty
from datbatch.study.comparison import Person, compare_study, find_normal_range, read_normal_range
from datbatch.study.imaging import imaging_identities
from tests.norms.test_kept import kept
from tests.pipeline import call_command

HEAVY = ("torch", "zarr", "dask", "distributed", "xarray", "pandas", "matplotlib", "nibabel", "scipy.stats", "sklearn")


def as_imaged_by(config: Config) -> KeptRange:
    return KeptRange(kept().fitted, imaging_identities(config)["quantify"].digest, frozenset({"Maker 3.3"}))


def test_a_single_study_loads_no_store_and_nothing_to_draw_with() -> None:
    for last, loaded in (("cli", "[]"), ("study.relevance", "['torch']")):
        probe = f"import sys, datbatch.study.explain, datbatch.report.study.folder, datbatch.{last};"
        probe += f"print([m for m in {HEAVY!r} if m in sys.modules])"
        shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == loaded


def test_a_normal_range_is_found_in_the_models_folder_before_beside_it(tmp_path) -> None:
    model = tmp_path / "models" / "one"
    model.mkdir(parents=True)
    assert find_normal_range(model) is None
    (model.parent / NORMAL_RANGE_FILE).write_text("beside")
    assert find_normal_range(model) == model.parent / NORMAL_RANGE_FILE
    (model / NORMAL_RANGE_FILE).write_text("inside")
    assert find_normal_range(model) == model / NORMAL_RANGE_FILE


def test_a_normal_range_holds_only_for_uptake_that_was_made_alike(tmp_path) -> None:
    path, config = tmp_path / NORMAL_RANGE_FILE, Config()
    path.write_text(as_imaged_by(config).to_json())
    assert read_normal_range(path, config).classes == {"Maker 3.3"}
    with pytest.raises(NormalRangeError, match="other parameters"):
        read_normal_range(path, Config(quantify=QuantifyConfig(putamen_hottest_ml=9.0)))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(NormalRangeError, match="cannot be read"):
        read_normal_range(path, config)


def test_a_study_is_compared_by_age_sex_site_and_camera() -> None:
    fitted = as_imaged_by(Config())
    binding = Binding(np.full((3, 3, 6), 1.2), np.full((3, 3), 5.0), np.full((3, 2), 0.9))
    facts = StudyFacts(scanner="Maker")
    alike = compare_study(fitted, binding, Person(70.0, "F", "A"), facts, 3.3)
    value, expected, lower, upper, z = alike.of("fixed_regions caudate_contralateral")
    assert value == 1.2
    assert lower < expected < upper
    assert z < -2
    assert alike.warnings == ()
    other = compare_study(fitted, binding, Person(None, "", ""), facts, 2.2)
    assert other.warnings == ("age-missing", "sex-missing", "site-missing", "class-without-normals")
    assert json.loads(json.dumps(other.to_dict(), allow_nan=False))["age_years"] is None


def evaluation(**changes: object) -> str:
    member = {"model": "m", "weights_sha256": "ab", "temperature": changes.pop("temperature", 2.0)}
    alone = {"members": [member], "margin": 0.2, "uncertain_share": 0.05, "studies": 40, **changes}
    ensemble = {**alone, "members": [member, {**member, "weights_sha256": "cd"}], "margin": 0.4}
    return json.dumps({"digest": "d", "weights_sha256": "ab", "certainty": [ensemble, alone], "too_few": ""})


def test_a_call_is_certain_beyond_the_margin(tmp_path) -> None:
    (tmp_path / "evaluation.json").write_text(evaluation())
    found, why_not = read_certainty(tmp_path, "ab")
    assert not why_not
    assert found.call([3.0]).probability[0] == pytest.approx(1 / (1 + math.exp(-1.5)), rel=1e-12)
    assert found.call([-1e9]).probability[0] == 0.0
    edge = 2.0 * math.log(0.7 / 0.3)
    assert found.call([[edge + 1e-6, edge - 1e-6, -edge - 1e-6]]).certain.tolist() == [True, False, True]


def test_why_a_call_cannot_be_judged_is_said_with_what_helps(tmp_path) -> None:
    assert read_certainty(tmp_path, "ab") == (None, "the model was not evaluated. Call `datbatch evaluate COHORT`.")
    (tmp_path / "evaluation.json").write_text(evaluation())
    assert "other weights" in read_certainty(tmp_path, "trained since")[1]
    few = {"digest": "d", "weights_sha256": "ab", "certainty": [], "too_few": "8 validation studies are too few"}
    (tmp_path / "evaluation.json").write_text(json.dumps(few))
    found, why_not = read_certainty(tmp_path, "ab")
    assert found is None
    assert why_not.startswith("8 validation studies are too few. Label more studies")
    assert "other weights" in read_certainty(tmp_path, "trained since")[1]


@pytest.mark.parametrize(
    "text",
    ["{", "[]", evaluation(margin=None), evaluation(margin=0.7), evaluation(temperature=0.0), evaluation(members=3)],
)
def test_a_damaged_evaluation_is_refused(tmp_path, text) -> None:
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(ModelError, match="evaluation"):
        read_certainty(tmp_path, "ab")


@pytest.fixture
def model(cohort: Path, tmp_path: Path) -> Path:
    """The cohort's model in a place of its own, with an evaluation and a normal range beside it."""
    (folder,) = (card.parent for card in models_path(cohort).glob("*/card.json"))
    own = tmp_path / "models" / folder.name
    shutil.copytree(folder, own)
    card = json.loads((own / "card.json").read_text())
    members = [{"model": own.name, "weights_sha256": card["weights_sha256"], "temperature": 1.5}]
    (own / "evaluation.json").write_text(evaluation(members=members))
    imaging = Store(cohort).attributes["stages"]["quantify"]["digest"]
    fitted = KeptRange(kept().fitted, imaging, frozenset())
    (own.parent / NORMAL_RANGE_FILE).write_text(fitted.to_json())
    return own


def test_everything_for_one_study_stands_in_one_folder(model, some_study, tmp_path) -> None:
    out = tmp_path / "out"
    answer = call_command("study", *some_study, "--model", model, "--output", out, "--age", 70, "--sex", "F")
    assert answer["certain"] in (True, False)
    assert answer["calibrated_probability_positive"] == pytest.approx(1 / (1 + math.exp(-answer["log_odds"] / 1.5)))
    assert answer["normal_range"]["age_years"] == 70.0
    assert answer["normal_range"]["warnings"] == ["site-missing", "class-without-normals"]
    measure = answer["normal_range"]["measures"]["hottest_voxels putamen_ipsilateral"]
    value = answer["binding"]["hottest_voxels"]["binding_ratio"]["reference"]["putamen_ipsilateral"]
    assert measure["value"] == value
    summary = json.loads((out / "summary.json").read_text())
    assert summary["regions"] == answer["regions"]
    # The archive's folders are named after person, identifier and date.
    secrets = [part for part in some_study[0].parent.name.split("_") if len(part) > 2] + [str(some_study[0].parent)]
    for file in out.iterdir():
        content = file.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], file.name


def test_what_is_refused_writes_nothing(model, studies_that_went_well, tmp_path) -> None:
    some_study, other, *_ = studies_that_went_well
    told = ("--model", model, "--output", tmp_path / "out")
    (tmp_path / "broken.dcm").write_bytes(b"no image")
    assert call_command("study", tmp_path / "broken.dcm", *told, expect=1)["error"] == "not-dicom"
    several = call_command("study", *some_study, *other, *told, expect=1)
    assert several["reason"] == "the files belong to several studies"
    card = json.loads((model / "card.json").read_text())
    for changes, reason in (({"orientation": None}, "sign of its relevance"), ({"shape": [40, 40, 40]}, "parameters")):
        (model / "card.json").write_text(json.dumps(card | changes))
        refused = call_command("study", *some_study, *told, expect=1)
        assert refused["error"] == "model-unusable"
        assert reason in refused["reason"]
        assert refused["remedy"]
    (model / "card.json").write_text("{")
    assert call_command("study", *some_study, *told, expect=1)["error"] == "model-unusable"
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]

"""`datbatch evaluate` on a store of known tables: what is stored, what is used again, and what is refused."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from datbatch import schema
from datbatch.classifier import ModelCard, build_network, load_model, predict, save_model
from datbatch.cli import main
from datbatch.cohort.cohort import Cohort
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, models_path
from datbatch.cohort.views.cases import read_evaluation
from datbatch.cohort.views.query import choose_model, open_cohort
from datbatch.config import Config, EvaluateConfig, TrainConfig, canonical_json
from datbatch.errors import DONE, ModelError, SplitLeakError, TrainingDataError
from datbatch.evaluation.certainty import Certainty
from datbatch.report.cohort.classification import read_model
from datbatch.report.cohort.contents import _is_stale
from datbatch.report.cohort.evaluation import evaluation_section
from datbatch.report.parts.exhibits import Exhibits
from datbatch.stages import evaluate as evaluation_run
from datbatch.stages.evaluate import evaluate_cohort
from datbatch.stages.inference import InferTask, blurred, infer, infer_on_worker
from datbatch.study.certainty import read_certainty
from datbatch.workers import driver

STUDIES = 240
PUTAMEN = schema.REGIONS.index("putamen_ipsilateral")


def card(seed: int, **changes: Any) -> str:
    made = ModelCard(
        preset="compact",
        shape=schema.SHAPE,
        config=Config(train=TrainConfig(preset="compact", seed=seed)).to_stored_dict(),
        data_digest="d" * 16,
        orientation={"sign": -1, "threshold": 0.1, "auc": 0.9},
        weights_sha256=f"{seed:064d}",
    )
    return canonical_json(asdict(made) | changes)


def add_model(store: Store, name: str, odds: np.ndarray, split: np.ndarray, text: str) -> None:
    store.add_model(f"{name}", {"card": text, "created": name, "quantify": "d"})
    positive = store.read_table("label") == schema.POSITIVE
    regional = np.full((STUDIES, len(schema.REGIONS), len(schema.STATISTICS)), np.nan)
    regional[:, PUTAMEN, schema.STATISTICS.index("hottest_mean")] = np.where(positive, -0.4, 0.4)
    columns = {
        "log_odds": odds,
        "regional": regional,
        "inconsistent": (odds > 0) != positive,
        "split": split.astype(object),
        "predicted": np.where(odds > 0, schema.POSITIVE, schema.NEGATIVE).astype(object),
    }
    store.write_table(columns, f"relevance/{name}")
    folder = models_path(store.path) / name
    folder.mkdir(parents=True)
    (folder / "split.json").write_text(json.dumps(dict(zip(store.studies, map(str, split), strict=True))))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Two repeats, and a third model of other parameters; binding decides the label."""
    path = tmp_path / "cohort.zarr"
    store = Store.create(path, granule_studies=32)
    studies = [f"s{index:03d}" for index in range(STUDIES)]
    store.grow(studies)
    rng = np.random.default_rng(0)
    positive = rng.random(STUDIES) < 0.5
    value = np.where(positive, 0.8, 2.0) + rng.normal(0, 0.2, STUDIES)

    def filled(name: str) -> np.ndarray:
        shape = store.read_table(name).shape
        return np.broadcast_to(value.reshape(-1, *[1] * (len(shape) - 1)), shape).copy()

    store.write_table(
        {
            "site": np.array(["A", "B"], dtype=object)[np.arange(STUDIES) % 2],
            "sex": np.where(rng.random(STUDIES) < 0.5, "M", "F").astype(object),
            "age": rng.normal(66, 10, STUDIES),
            "counts": rng.uniform(1e6, 4e6, STUDIES),
            "label": np.where(positive, schema.POSITIVE, schema.NEGATIVE).astype(object),
            "status": np.full(STUDIES, schema.DONE, dtype=object),
            "reads": np.repeat(np.where(positive, schema.POSITIVE, schema.NEGATIVE).astype(object)[:, None], 7, axis=1),
            **{name: filled(name) for name in ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio")},
            "specific_binding_ratio": filled("specific_binding_ratio"),
        }
    )
    store.set_attributes({"stages": {"quantify": {"digest": "d"}}})
    rows = [Row(s, DONE, sha256={"uptake": f"{index:064x}"}) for index, s in enumerate(studies)]
    Ledger(path).commit(GranuleKey("quantify", "d", 0, "m"), rows)
    split = np.array(["train", "validation", "test"])[np.searchsorted([120, 180], np.arange(STUDIES), side="right")]
    for seed, name in ((1, "compact-1"), (2, "compact-2")):
        odds = np.where(positive, 2.0, -2.0) + np.random.default_rng(seed).normal(0, 1.6, STUDIES)
        add_model(store, name, odds, split, card(seed))
    changed = Config(train=TrainConfig(preset="compact", epochs=3)).to_stored_dict()
    add_model(store, "compact-0", np.zeros(STUDIES), split, card(1, config=changed))
    store.consolidate()
    return path


def test_everything_is_stored_as_strict_json_and_the_report_knows_what_it_is_of(cohort) -> None:
    config = Config(evaluate=EvaluateConfig(uncertain_share=0.1))
    found = evaluate_cohort(cohort, config, quiet=True).values
    assert found["model"] == "compact-2"
    store = Store(cohort)
    kept = store.model_attributes("compact-2")["evaluation"]
    assert json.loads(kept, parse_constant=lambda word: pytest.fail(word)) == found
    assert found["sets"]["test"]["negative"] + found["sets"]["test"]["positive"] == 60
    names = [row["name"] for row in found["comparators"]]
    assert names == ["Putamen SBR", "Classification and regression tree", "Putamen relevance", "Putamen relevance"]
    assert found["comparators"][2]["metrics"]["accuracy"]["value"] == 1.0
    assert found["inconsistency"]["found"]["value"] == 1.0
    assert found["inconsistency"]["alarmed"]["value"] == 0.0
    assert {row["by"] for row in found["groups"]} == {"site", "sex", "age", "counts"}
    assert found["readers"][0]["kappa"]["value"] == 1.0
    assert found["temperature"] > 0
    cohort_tree = open_cohort(cohort)
    model = read_model(cohort_tree, "compact-2")
    evaluation = read_evaluation(model.attributes)
    assert not _is_stale(cohort_tree, model, evaluation)
    store.write_table({"site": np.full(STUDIES, "C", dtype=object)})
    assert _is_stale(open_cohort(cohort), model, evaluation)


def test_repeats_are_found_by_their_cards_and_call_certain_together(cohort) -> None:
    found = evaluate_cohort(cohort, Config(evaluate=EvaluateConfig(uncertain_share=0.1)), quiet=True).values
    assert [row["model"] for row in found["repeats"]["models"]] == ["compact-2", "compact-1"]
    accuracy = [row["metrics"]["accuracy"]["value"] for row in found["repeats"]["models"]]
    assert found["repeats"]["spread"][0]["mean"] == pytest.approx(np.mean(accuracy))
    assert found["repeats"]["spread"][0]["sd"] == pytest.approx(np.std(accuracy, ddof=1))
    assert [len(one["certainty"]["members"]) for one in found["certainty"]] == [1, 2]
    alone, _ = read_certainty(models_path(cohort) / "compact-2", f"{2:064d}")
    assert alone == Certainty.from_dict(found["certainty"][0]["certainty"])
    assert not alone.call([0.0]).certain[0]
    assert alone.call([30.0]).certain[0]
    assert read_certainty(models_path(cohort) / "compact-0", "0")[0] is None


def test_too_few_validation_studies_are_said_and_one_class_leaves_no_number(cohort, capsys) -> None:
    store = Store(cohort)
    label = store.read_table("label")
    label[120:180] = ""
    label[180:] = np.where(label[180:] == schema.POSITIVE, schema.POSITIVE, "")
    store.write_table({"label": label})
    assert main(["evaluate", str(cohort), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "missing: temperature (the validation set has 0 studies" in said
    assert "missing: certain or uncertain" in said
    found, why_not = read_certainty(models_path(cohort) / "compact-2", f"{2:064d}")
    assert found is None
    assert why_not.startswith("0 validation studies are too few to tell which 5 % are uncertain. Label more studies")
    assert "missing: figures of the negative class" in said
    assert "nan" not in said
    label[180:] = ""
    store.write_table({"label": label})
    with pytest.raises(TrainingDataError, match="test set"):
        evaluate_cohort(cohort, Config(), quiet=True)


def test_a_person_in_two_sets_an_unknown_model_and_one_of_replaced_uptake_are_refused(cohort) -> None:
    with pytest.raises(ModelError, match="no model"):
        evaluate_cohort(cohort, Config(), model="paper-x", quiet=True)
    store, nobody = Store(cohort), np.full(STUDIES, "", dtype=object)
    person = nobody.copy()
    person[[0, 239]] = "p1"
    store.write_table({"person": person})
    with pytest.raises(SplitLeakError, match=r"s000 \(train\), s239 \(test\)"):
        evaluate_cohort(cohort, Config(), quiet=True)
    store.write_table({"person": nobody})
    store.set_attributes({"quantify": "earlier"}, "relevance/compact-2")
    with pytest.raises(ModelError, match="replaced"):
        evaluate_cohort(cohort, Config(), quiet=True)


def test_a_model_that_leaves_a_site_out_is_never_the_newest(cohort) -> None:
    store = Store(cohort)
    store.set_attributes({"part_of": "compact-1"}, "relevance/compact-2")
    store.consolidate()
    assert Cohort(store.path).newest_model() == "compact-1"
    assert choose_model(open_cohort(cohort), None) == "compact-1"


def test_inference_is_the_networks_own_and_made_once(cohort, tmp_path, monkeypatch) -> None:
    store, folder = Store(cohort), tmp_path / "model"
    volumes = np.random.default_rng(1).random((16, *schema.SHAPE), dtype=np.float32)
    granule = np.full((32, *schema.SHAPE), np.nan, dtype=np.float32)
    granule[:16] = volumes
    store.write_volumes("uptake", 0, granule)
    network = build_network(schema.SHAPE, pool=2)
    saved = save_model(folder, network, ModelCard(preset="compact", shape=schema.SHAPE, config={}, data_digest=""))
    asked: list[InferTask] = []

    def inline(_client: Any, function: Any, tasks: list[InferTask], **options: Any) -> None:
        for task in tasks:
            asked.append(task)
            options["on_record"](function(task))

    monkeypatch.setattr(driver, "run_tasks", inline)
    hashes = {index: f"{index:064x}" for index in (2, 5, 7)}
    arguments = (lambda: None, cohort, folder, saved.card.weights_sha256)
    found = infer(*arguments, hashes, (0.0, 4.0))
    expected = predict(load_model(folder).network, store.volumes(), [2, 5, 7], shape=schema.SHAPE)
    assert list(found[0.0].values()) == pytest.approx((expected[:, 1] - expected[:, 0]).tolist(), rel=1e-4, abs=1e-6)
    assert found[4.0] != found[0.0]
    assert len(asked) == 1
    assert infer(*arguments, hashes, (0.0,))[0.0] == found[0.0]
    assert len(asked) == 1
    infer(*arguments, hashes | {2: "f" * 64}, (0.0,))
    assert [task.studies for task in asked] == [(2, 5, 7), (2,)]
    with pytest.raises(ModelError, match="replaced"):
        infer_on_worker(InferTask(cohort, folder, "0" * 64, (2,), (0.0,)))


def test_extra_blur_keeps_the_mean_and_widens_a_point() -> None:
    point = np.zeros(schema.SHAPE, dtype=np.float32)
    point[45, 54, 31] = 1.0
    wide = blurred(point, 8.0)
    assert wide.shape == point.shape
    assert wide.sum() == pytest.approx(1.0, abs=1e-3)
    # Half of the height at half of the width.
    assert wide[47, 54, 31] / wide[45, 54, 31] == pytest.approx(0.5, abs=0.02)
    assert blurred(point, 0.0) is point


def test_the_report_shows_the_evaluation_and_says_when_it_is_of_earlier_tables(cohort) -> None:
    found = evaluate_cohort(cohort, Config(evaluate=EvaluateConfig(uncertain_share=0.1)), quiet=True).values
    row = {"metrics": found["network"], "area": found["area"]}
    sites = {"rows": [{"site": "A", **row}], "together": found["network"], "missing": [{"site": "B", "reason": "few"}]}
    shown = found | {"blur": {"rows": [{"fwhm_mm": 0.0, **row}, {"fwhm_mm": 4.0, **row}]}, "each_site": sites}
    page = "".join(evaluation_section(None, SimpleNamespace(evaluation=shown, evaluation_stale=True), Exhibits()))
    for words in ("Of earlier tables", "McNemar", "Reliability diagram", "ensemble of 2", "Extra Gaussian blur", "few"):
        assert words in page
    nothing = "".join(evaluation_section(None, SimpleNamespace(evaluation={}, evaluation_stale=False), Exhibits()))
    assert "was not evaluated" in nothing


def test_each_site_is_judged_by_a_model_that_left_it_out_and_the_split_stays(cohort, monkeypatch) -> None:
    store = Store(cohort)
    split = store.read_table("split")

    def train(path: Path, config: Config, **_: Any) -> SimpleNamespace:
        if config.split.held_out == ["B"]:
            raise TrainingDataError("too few")
        assert (config.split.by, config.split.held_out, config.train.preset) == ("site", ["A"], "compact")
        Store(path).write_table({"split": np.full(STUDIES, "test", dtype=object)})
        return SimpleNamespace(model="compact-1")

    def inferred(*arguments: Any, **_: Any) -> dict[float, dict[int, float]]:
        return {0.0: dict.fromkeys(arguments[4], 1.0)}

    monkeypatch.setattr(evaluation_run, "train_model", train)
    monkeypatch.setattr(evaluation_run, "infer", inferred)
    found = evaluate_cohort(cohort, Config(), model="compact-2", each_site=True, quiet=True).values["each_site"]
    assert [(row["site"], row["metrics"]["accuracy"]["trials"]) for row in found["rows"]] == [("A", STUDIES // 2)]
    assert found["missing"] == [{"site": "B", "reason": "too few"}]
    assert found["together"]["sensitivity"]["value"] == 1.0
    assert (Store(cohort).read_table("split") == split).all()
    assert store.model_attributes("compact-1")["part_of"] == "compact-2"
    # Kept by the next call, which was not asked for it.
    assert evaluate_cohort(cohort, Config(), model="compact-2", quiet=True).values["each_site"] == found

"""A study read from the store is the study that would be explained from its files."""

import json
from dataclasses import replace

import numpy as np
import pytest

from datbatch import explain_study
from datbatch.archive import read_linkage
from datbatch.classifier.folder import ModelFolder
from datbatch.cohort.store import linkage_path, models_path
from datbatch.cohort.views.query import choose_model, open_cohort
from datbatch.cohort.views.results import ResultsReader, positions
from datbatch.config import Config
from datbatch.errors import ConfigurationError, ModelError
from datbatch.report.study.stored import StoredStudies


def test_a_stored_study_says_what_its_files_say(cohort, archive, some_study) -> None:
    tree = open_cohort(cohort)
    index = positions(tree)[0]
    results = ResultsReader(tree)[index]
    assert [archive / name for name in read_linkage(linkage_path(cohort))[results.study]] == some_study
    stored = StoredStudies(tree, cohort, archive=archive).explained(results)
    fresh = explain_study(some_study, models_path(cohort) / str(choose_model(tree, None)))
    np.testing.assert_array_equal(stored.uptake, fresh.uptake)
    np.testing.assert_allclose(stored.relevance, fresh.relevance, atol=1e-5 * np.abs(fresh.relevance).max())
    found, expected = stored.summary(), fresh.summary()
    for told in (found, expected):
        for name in ("seconds", "not_compared"):
            del told[name]
    assert found["predicted"] == expected["predicted"]
    assert_close(found, expected)
    assert stored.acquired["views"] == fresh.acquired["views"]
    assert {name: stage.get("digest") for name, stage in stored.stages.items() if name != "explain"} == {
        name: stage.get("digest") for name, stage in fresh.stages.items() if name != "explain"
    }
    np.testing.assert_array_equal(stored.projections.projections, fresh.projections.projections)
    assert stored.simulated
    assert fresh.simulated


def assert_close(found: object, expected: object, where: str = "") -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys(), where
        for name in expected:
            assert_close(found[name], expected[name], f"{where}/{name}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), where
    else:
        assert found == expected, where


def test_without_its_archive_a_study_has_no_projections_and_without_a_model_no_page(cohort, tmp_path) -> None:
    tree = open_cohort(cohort)
    results = ResultsReader(tree)[positions(tree)[0]]
    for archive in (None, tmp_path):
        assert StoredStudies(tree, cohort, archive=archive).explained(results).projections is None
    with pytest.raises(ModelError):
        StoredStudies(tree, cohort).explained(type(results)(**vars(results) | {"model": None}))
    with pytest.raises(ModelError, match="no model"):
        StoredStudies(type(tree)(tree.to_dataset()), cohort)
    assert json.dumps(StoredStudies(tree, cohort).explained(results).summary(), allow_nan=False)


def test_a_start_of_relevance_whose_sign_nobody_learned_is_refused(cohort, some_study) -> None:
    model = models_path(cohort) / str(choose_model(open_cohort(cohort), None))
    trained = Config.from_dict(ModelFolder(model).card().config, recorded=True)
    other = replace(trained, explain=replace(trained.explain, target="log_odds"))
    with pytest.raises(ConfigurationError, match=r"explain\.target"):
        explain_study(some_study, model, config=other)

"""What the report counts equals what one counts by hand in the synthetic cohort."""

from dataclasses import replace

import numpy as np
import pytest

from datbatch import schema
from datbatch.archive.codes import explain_code
from datbatch.cohort.attributes import json_attribute
from datbatch.cohort.views.query import choose_model
from datbatch.errors import by_code
from datbatch.report.cohort.classification import (
    PAPER_NETWORK,
    PAPER_RELEVANCE,
    learned_ratio_cut,
    outcomes,
    performances,
    read_model,
    reader_agreement,
)
from datbatch.report.cohort.tables import by_site, count_flow, demographics, read_studies
from tests.report.synthetic import TEST_SET, WHOLE, Synthetic, build_cohort


@pytest.fixture(scope="module")
def studies():
    return read_studies(build_cohort())


def test_every_study_goes_exactly_one_way(studies) -> None:
    flow = count_flow(studies, {"found": 40, "skipped": {"not-dicom": 3, "wrong-modality": 0}})
    assert (flow.files_found, flow.files_skipped) == (40, {"not-dicom": 3})
    assert flow.imported == 0
    assert count_flow(studies.assign(source=[schema.TOMOGRAM, *[""] * (len(studies) - 1)]), {}).imported == 1
    assert flow.studies == 17
    assert flow.excluded == {"not-indicated": 1}
    assert flow.failed == {"truncated": 2, "views-missing": 1}
    assert flow.eligible == 16
    assert flow.done == 13
    assert flow.split == {"train": (2, 2), "validation": (1, 1), "test": (4, 3)}
    assert flow.studies == sum(flow.excluded.values()) + sum(flow.failed.values()) + flow.pending + flow.done
    assert flow.done == sum(map(sum, flow.split.values())) + flow.without_split


def test_age_is_described_by_label_and_sex_as_in_table_1(studies) -> None:
    whole, train, _, test = demographics(studies)
    assert (whole.n, train.n, test.n) == (13, 4, 7)
    females_negative = whole.cells[0]
    assert (females_negative.n, females_negative.known) == (4, 4)
    assert females_negative.mean_years == pytest.approx((60 + 64 + 61 + 58) / 4)
    assert females_negative.sd_years == pytest.approx(np.std([60, 64, 61, 58], ddof=1))
    assert test.cells[1].n == 2
    assert test.cells[1].known == 1, "the male negative study without an age counts, but not in the mean"
    assert test.cells[1].mean_years == 59.0
    assert np.isnan(test.cells[1].sd_years)
    assert train.cells[1].n == 0
    assert np.isnan(train.cells[1].mean_years)


def test_sites_are_told_apart(studies) -> None:
    north, south = by_site(studies)
    assert (north.site, north.studies, north.excluded, north.failed, north.done) == ("north", 11, 1, 2, 8)
    assert (south.site, south.studies, south.excluded, south.failed, south.done) == ("south", 6, 0, 1, 5)
    assert (north.sbr_negative, north.sbr_positive) == (pytest.approx(2.4), pytest.approx(0.6))
    assert north.positive == sum(s.site == "north" and s.label == "positive" for s in WHOLE if s.status == "done")
    assert north.counts_median == 3.0e6


def test_outcomes_are_of_labelled_test_studies_alone(studies) -> None:
    found = outcomes(studies, read_model(build_cohort(), "first"))
    assert dict(zip(studies["study"], found, strict=True)) == {
        **{study.study: "" for study in WHOLE},
        "sb01": "TN", "sb02": "TN", "sb03": "TN", "sb04": "TP", "sb05": "TP", "sb06": "FN", "sb07": "FP",
    }  # fmt: skip


def test_relevance_is_oriented_before_it_is_cut(studies) -> None:
    """The card's sign is -1 and the raw relevance of the false negative is that of a positive study."""
    by_name = {row.name: row.metrics.confusion for row in performances(studies, read_model(build_cohort(), "first"))}
    network, cut = by_name["Network"], by_name["Putamen relevance, cut at zero"]
    assert (network.true_negative, network.true_positive) == (3, 2)
    assert (network.false_negative, network.false_positive) == (1, 1)
    assert (cut.true_negative, cut.true_positive, cut.false_negative, cut.false_positive) == (3, 3, 0, 1)


def test_the_learned_threshold_is_applied_to_oriented_relevance(studies) -> None:
    model = replace(read_model(build_cohort(), "first"), threshold=0.15)
    row = next(row for row in performances(studies, model) if "learned cut" in row.name)
    assert row.metrics.confusion.true_positive + row.metrics.confusion.false_positive == 0


def test_the_binding_cut_lies_between_the_training_classes(studies) -> None:
    assert learned_ratio_cut(studies) == pytest.approx((0.6 + 2.4) / 2)
    assert np.isnan(learned_ratio_cut(studies[studies["label"] == "negative"]))


def test_the_papers_percentages_follow_from_its_counts() -> None:
    def printed(metrics) -> list[float]:
        return [
            round(100 * share.value, 1)
            for share in (
                metrics.accuracy,
                metrics.sensitivity,
                metrics.specificity,
                metrics.positive_predictive_value,
                metrics.negative_predictive_value,
            )
        ]

    assert printed(PAPER_NETWORK) == [95.8, 92.8, 98.7, 98.5, 93.7]
    assert printed(PAPER_RELEVANCE) == [96.9, 97.8, 96.0, 95.7, 98.0]


def test_the_newest_model_is_reported_unless_one_is_named() -> None:
    cohort = build_cohort(TEST_SET, ("zeta", "alpha"))
    assert choose_model(cohort, None) == "alpha"
    assert choose_model(cohort, "zeta") == "zeta"
    assert choose_model(build_cohort(TEST_SET, ()), None) is None


def test_readers_agree_by_their_consensus(studies) -> None:
    reads = studies.copy()
    reads.loc[0, ["reader1_first", "reader1_second", "reader1_third"]] = ["negative", "positive", "positive"]
    agreement = reader_agreement(reads)
    assert (agreement.agreeing.successes, agreement.agreeing.trials) == (13, 14)
    assert reader_agreement(studies.assign(reader2_first="", reader2_second="")) is None


def test_a_store_without_later_stages_reads_as_pending() -> None:
    cohort = build_cohort((Synthetic("sd01", status=schema.PENDING),), ())
    early = cohort.to_dataset().drop_vars(["specific_binding_ratio", "reads", "mirrored", "scanner", "counts"])
    cohort.dataset = early
    studies = read_studies(cohort)
    assert studies["sbr_putamen_ipsilateral"].isna().all()
    assert studies["scanner"].tolist() == [""]
    assert count_flow(studies, json_attribute(cohort.attrs, "files")).pending == 1


def test_every_code_of_an_error_has_a_meaning_and_a_remedy() -> None:
    for code, kind in by_code().items():
        meaning, remedy = explain_code(code)
        assert meaning
        assert remedy == kind.remedy
    assert "I1" in explain_code("not-indicated")[0]
    for code in ("hidden", "special", "other", "copy"):
        assert "does not know" not in explain_code(code)[0], "codes of files that the archive's walk leaves out"
    assert "does not know" in explain_code("from-the-future")[0]

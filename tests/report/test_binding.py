"""Binding by every definition is described as one counts by hand, and the normal range lies where it was fitted."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from datbatch import schema
from datbatch.report.cohort.binding import normal_range_section
from datbatch.report.cohort.binding_tables import BindingTable, definition_rows, read_binding
from datbatch.report.cohort.contents import gather
from datbatch.report.cohort.tables import codes_by_site, read_studies
from datbatch.report.parts.exhibits import Beside, Exhibits
from datbatch.report.parts.hypertext import element
from tests.report.parsed import Page
from tests.report.synthetic import TEST_SET, build_cohort

PUTAMEN = schema.MEASURES.index("hottest_voxels putamen_ipsilateral")
FIT = {
    "age_range": [50.0, 80.0],
    "terms": ["intercept", "age_per_decade"],
    "zero": {"age_per_decade": 60.0},
    "measures": {
        "hottest_voxels putamen_ipsilateral": {
            "coefficient": [2.0, -0.1], "normals": 12, "residual_sd": 0.3, "site_sd": 0.4,
        }
    },
}  # fmt: skip


def cohort_with_range(*, stale: bool = False) -> xr.DataTree:
    """The test set with binding ratios, and a normal range whose lower end is 1 everywhere."""
    cohort = build_cohort(TEST_SET)
    n = len(TEST_SET)
    low = np.array([0.6 if study.label == schema.POSITIVE else 1.6 for study in TEST_SET])
    low[0] = 0.9  # a negative study of the training split, below the range that it took part in
    low[1] = 0.8  # a negative study that did not
    root = cohort.to_dataset().assign(
        binding_ratio=(("study", "definition", "background", "striatal"), np.tile(low[:, None, None, None], (3, 3, 6))),
        asymmetry_index=(("study", "definition", "structure"), np.full((n, 3, 3), 5.0)),
        putamen_to_caudate_ratio=(("study", "definition", "side"), np.full((n, 3, 2), 0.9)),
    )
    size = (n, len(schema.MEASURES))
    group = xr.Dataset(
        {
            "z_score": (("study", "measure"), np.repeat(low[:, None] - 1.6, size[1], axis=1)),
            "lower": (("study", "measure"), np.full(size, 1.0)),
            "split": ("study", np.array(["train", *["test"] * (n - 1)], dtype=object)),
            "warnings": ("study", np.array(["age-missing", *[""] * (n - 1)], dtype=object)),
        },
        attrs={"stale": stale, "fit": json.dumps(FIT), "summary": json.dumps({"normals": 12})},
    )
    cohort.dataset = root
    cohort[schema.NORMAL_RANGE] = xr.DataTree(group)
    return cohort


def table_of(cohort: xr.DataTree) -> BindingTable:
    return read_binding(cohort, read_studies(cohort))


def test_only_normals_that_the_range_was_not_fitted_to_tell_how_often_it_errs() -> None:
    cohort = cohort_with_range()
    row = definition_rows(table_of(cohort), read_studies(cohort))[0]
    assert (row.definition, row.region) == ("hottest_voxels", "putamen_ipsilateral")
    assert row.negative == (
        4,
        pytest.approx((0.9 + 0.8 + 1.6 + 1.6) / 4),
        pytest.approx(np.std([0.9, 0.8, 1.6, 1.6], ddof=1)),
    )
    assert row.positive[:2] == (3, pytest.approx(0.6))
    assert (row.below_negative.successes, row.below_negative.trials) == (1, 3)
    assert (row.below_positive.successes, row.below_positive.trials) == (3, 3)
    assert row.area.value == 1.0


def test_the_normal_range_over_age_is_that_of_the_fit_and_one_of_earlier_tables_is_not_shown() -> None:
    band = table_of(cohort_with_range()).band("hottest_voxels putamen_ipsilateral")
    np.testing.assert_allclose(band.expected(np.array([60.0, 80.0])), [2.0, 1.8])
    assert band.sd == pytest.approx(0.5)
    assert table_of(cohort_with_range()).band("fixed_regions putamen_ipsilateral") is None
    table = table_of(cohort_with_range(stale=True))
    assert not table.has_range
    assert np.isfinite(table.value[:, PUTAMEN]).all()
    assert read_binding(build_cohort(), read_studies(build_cohort())) is None


@pytest.mark.parametrize(
    ("stale", "words"), [(False, "from 12 normal studies"), (True, "There is no normal range of these tables")]
)
def test_the_section_says_what_there_is(stale, words) -> None:
    contents = gather(cohort_with_range(stale=stale), None, "radiological")
    page = Page(element("section", normal_range_section(contents, Exhibits())))
    assert words in page.text
    if not stale:
        assert page.table_with("Meaning")["age-missing"][-1].startswith("1")


def test_no_age_over_the_cap_is_drawn_or_written(tmp_path) -> None:
    cohort = cohort_with_range()
    fit = json.loads(json.dumps(FIT)) | {"age_range": [50.0, 97.0]}
    group = cohort[schema.NORMAL_RANGE]
    group.attrs["fit"] = json.dumps(fit)
    cohort.dataset = cohort.to_dataset().assign_coords(age=("study", np.full(len(TEST_SET), 97.0)))
    section = normal_range_section(gather(cohort, None, "radiological"), Exhibits(Beside(tmp_path, "report")))
    assert Page(element("section", section)).text
    (written,) = tmp_path.rglob("figure_*normal_range.csv")
    assert set(pd.read_csv(written)["age_years"]) == {schema.AGE_CAP_YEARS}
    band = table_of(cohort).band("hottest_voxels putamen_ipsilateral")
    assert band.age_range == (50.0, schema.AGE_CAP_YEARS)


def test_codes_are_counted_once_a_study_by_site() -> None:
    studies = read_studies(build_cohort(TEST_SET))
    studies["flags"] = ["motion motion", "motion cut-top", "", "", "", "", ""]
    studies["quantification_flags"] = ["", "cut-top", "", "", "", "", "region-cut"]
    assert codes_by_site(studies, ("flags", "quantification_flags")) == {
        "motion": {"north": 1, "south": 1},
        "cut-top": {"south": 1},
        "region-cut": {"south": 1},
    }

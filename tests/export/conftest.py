"""One study whose every figure is known, with more uptake on the patient's left, and a small cohort."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
import xarray as xr

from datbatch import schema
from datbatch.cohort.views.results import ModelResults, StudyResults
from tests.report.synthetic import TEST_SET, blob, build_cohort

LEFT_MM = (-26.0, 2.0, 0.0)
"""Where the blob lies: the patient's left putamen, in MNI mm."""


def study_pose() -> np.ndarray:
    """Give a head that is turned, sheared a little, smaller and displaced: MNI mm to study mm."""
    pose = np.eye(4)
    angle = np.deg2rad(8.0)
    pose[:3, :3] = 0.92 * np.array(
        [[np.cos(angle), -np.sin(angle), 0.02], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.03, 1.0]]
    )
    pose[:3, 3] = (4.0, -11.0, 7.0)
    return pose


@pytest.fixture(scope="session")
def left_blob() -> np.ndarray:
    """The patient's uptake as acquired: one blob, left."""
    values = blob(LEFT_MM, 6.0)
    # Plain zeros compress fast.
    return np.where(values > 1e-3, values, np.float32(0))


@pytest.fixture(scope="session")
def make_results(left_blob: np.ndarray) -> Callable[[bool], StudyResults]:
    """Make the study as the store holds it, mirrored or not."""

    @lru_cache(maxsize=2)
    def make(mirrored: bool) -> StudyResults:
        stored = np.ascontiguousarray(left_blob[::-1] if mirrored else left_blob)
        regional = np.full((len(schema.REGIONS), len(schema.STATISTICS)), np.nan)
        regional[:4, schema.STATISTICS.index("hottest_mean")] = (1e-3, 2e-3, 3e-3, 4e-3)
        binding = np.array([0.5, 2.5, 1.5, 2.0, 0.3, 0.2, -0.1, 0.1, 0.05, 0.0])
        z_score = np.full(len(schema.MEASURES), np.nan)
        z_score[: len(schema.STRIATAL)] = (-3.5, -0.5, -1.5, -1.0, -2.5, -0.75)
        model = ModelResults(
            name="compact-1a2b3c4d",
            weights_sha256="ab" * 32,
            version="0.1.0",
            sign=-1.0,
            relevance=np.float32(-2e-4) * stored,
            regional=regional,
            probability=0.875,
            predicted=schema.POSITIVE,
            inconsistent=True,
        )
        return StudyResults(
            study="s2abcdefghijklmno",
            sex="F",
            age_years=93.4,
            simulated=True,
            uptake=stored,
            mirrored=mirrored,
            template_to_study=study_pose(),
            specific_binding_ratio=binding,
            z_score=z_score,
            flags=("motion",),
            model=model,
        )

    return make


@pytest.fixture(scope="session")
def tree() -> xr.DataTree:
    """A store as xarray opens it: seven studies with a model, one excluded, one failed."""
    from tests.report.synthetic import LEFT_OUT

    found = build_cohort((*TEST_SET, *LEFT_OUT[:2]))
    root = found.to_dataset()
    root["template_to_study"] = (("study", "to", "from"), np.broadcast_to(study_pose(), (root.sizes["study"], 4, 4)))
    root["views"] = ("study", np.where(root["status"].values == schema.DONE, 120, 0).astype(np.int32))
    return xr.DataTree.from_dict({"/": root, "/relevance/first": found["relevance/first"].to_dataset()})

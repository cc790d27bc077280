"""A small cohort whose every number is known: sixteen studies with two blobs each, without zarr or dask."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from datbatch import schema
from datbatch.config import Config

GRID = np.meshgrid(*(schema.coordinates_mm(axis) for axis in range(3)), indexing="ij")
PUTAMEN_MM, CAUDATE_MM = (26.0, 2.0, 0.0), (14.0, 10.0, 8.0)


@dataclass(frozen=True)
class Synthetic:
    """One study as the fixture makes it."""

    study: str
    label: str = ""
    predicted: str = ""
    split: str = ""
    sex: str = "F"
    age: float = 60.0
    site: str = "north"
    status: str = schema.DONE
    code: str = ""
    reason: str = ""
    mirrored: bool = False
    inconsistent: bool = False


def _train_and_validation() -> list[Synthetic]:
    return [
        Synthetic("sa01", "negative", "negative", "train", "F", 60.0),
        Synthetic("sa02", "negative", "negative", "train", "F", 64.0, "south"),
        Synthetic("sa03", "positive", "positive", "train", "M", 70.0, "south"),
        Synthetic("sa04", "positive", "positive", "train", "M", 74.0),
        Synthetic("sa05", "negative", "negative", "validation", "M", 55.0),
        Synthetic("sa06", "positive", "positive", "validation", "F", 66.0),
    ]


TEST_SET = (
    Synthetic("sb01", "negative", "negative", "test", "F", 61.0),
    Synthetic("sb02", "negative", "negative", "test", "M", 59.0, "south", mirrored=True),
    Synthetic("sb03", "negative", "negative", "test", "M", float("nan")),
    Synthetic("sb04", "positive", "positive", "test", "F", 68.0),
    Synthetic("sb05", "positive", "positive", "test", "M", 72.0, "south"),
    Synthetic("sb06", "positive", "negative", "test", "M", 71.0, mirrored=True, inconsistent=True),
    Synthetic("sb07", "negative", "positive", "test", "F", 58.0, "south"),
)
LEFT_OUT = (
    Synthetic("sc01", "negative", status=schema.EXCLUDED, code="not-indicated", reason="indication is not CUPS"),
    Synthetic("sc02", status=schema.FAILED, code="truncated", reason="60 of 120 frames", site="south"),
    Synthetic("sc03", status=schema.FAILED, code="truncated", reason="the file ends early"),
    Synthetic("sc04", status=schema.FAILED, code="views-missing", reason="view 7 of 120 is missing"),
)
WHOLE = (*_train_and_validation(), *TEST_SET, *LEFT_OUT)
CARD: dict[str, Any] = {
    "preset": "compact",
    "parameters": 17_000_000,
    "config": {},
    "data_digest": "d" * 16,
    "history": [
        {"epoch": 1, "train_loss": 0.7, "validation_loss": 0.69, "validation_accuracy": 0.5},
        {"epoch": 2, "train_loss": 0.4, "validation_loss": 0.45, "validation_accuracy": 0.75},
        {"epoch": 3, "train_loss": 0.2, "validation_loss": 0.3, "validation_accuracy": 1.0},
    ],
    "orientation": {"sign": -1.0, "threshold": 0.05, "auc": 1.0},
    "metrics": {},
    "versions": {"torch": "2.13.0"},
    "weights_sha256": "ab" * 32,
}


def blob(centre_mm: Sequence[float], width_mm: float = 7.0) -> np.ndarray:
    """Give a Gaussian of height one at a place of MNI space."""
    squared = sum((axis - at) ** 2 for axis, at in zip(GRID, centre_mm, strict=True))
    return np.exp(-squared / (2 * width_mm**2)).astype(np.float32)


def _side(centre: Sequence[float], sign: int) -> tuple[float, ...]:
    return (sign * centre[0], *centre[1:])


_BRAIN = ((GRID[0] / 68) ** 2 + ((GRID[1] + 18) / 86) ** 2 + ((GRID[2] - 12) / 62) ** 2 < 1).astype(np.float32)
_PUTAMEN = {sign: blob(_side(PUTAMEN_MM, sign)) for sign in (-1, 1)}
_CAUDATE = {sign: blob(_side(CAUDATE_MM, sign)) for sign in (-1, 1)}


def putamen_height(study: Synthetic) -> float:
    """Give the height of the ipsilateral putamen above background: lower in positive studies."""
    return 0.6 if study.label == schema.POSITIVE else 2.4


def relevance_height(study: Synthetic) -> float:
    """Give the raw relevance of the ipsilateral putamen; the card's sign of -1 turns positive studies positive."""
    oriented = 0.2 if (study.predicted == schema.POSITIVE) != study.inconsistent else -0.2
    return -oriented


def uptake_of(study: Synthetic) -> np.ndarray:
    low = putamen_height(study)
    volume = _BRAIN + low * _PUTAMEN[-1] + (low + 0.5) * _PUTAMEN[1] + 2.0 * (_CAUDATE[-1] + _CAUDATE[1])
    return volume.astype(np.float32)


def relevance_of(study: Synthetic) -> np.ndarray:
    height = relevance_height(study)
    return (height * _PUTAMEN[-1] + 0.5 * height * _PUTAMEN[1]).astype(np.float32)


class Recorded(BackendArray):
    """Volumes that are made on demand and remember which studies were read at once."""

    def __init__(self, studies: Sequence[Synthetic], make: Any) -> None:
        self.shape = (len(studies), *schema.SHAPE)
        self.dtype = np.dtype(np.float32)
        self.reads: list[tuple[int, ...]] = []
        self._studies, self._make = studies, make

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        wanted = np.arange(self.shape[0])[key[0]]
        self.reads.append(tuple(int(one) for one in np.atleast_1d(wanted)))
        if wanted.ndim == 0:
            return self._make(self._studies[int(wanted)])[key[1:]]
        return np.stack([self._make(self._studies[one])[key[1:]] for one in wanted]).reshape(
            (len(wanted), *self.shape[1:])
        )


def _volumes(studies: Sequence[Synthetic], make: Any) -> tuple[xr.Variable, Recorded]:
    recorded = Recorded(studies, make)
    lazy = indexing.LazilyIndexedArray(recorded)
    return xr.Variable(("study", "x", "y", "z"), lazy), recorded


def _texts(values: Sequence[str]) -> tuple[str, np.ndarray]:
    return "study", np.array(list(values), dtype=object)


def root_dataset(studies: Sequence[Synthetic], attributes: dict[str, Any] | None = None) -> xr.Dataset:
    n, done = len(studies), np.array([study.status == schema.DONE for study in studies], dtype=bool)
    nothing = np.full(n, np.nan)
    ratios = np.full((n, len(schema.REGIONS)), np.nan)
    for row, study in enumerate(studies):
        if done[row]:
            low = putamen_height(study)
            ratios[row, :4] = low, low + 0.5, 2.0, 2.0
    reads = np.full((n, len(schema.READS)), "", dtype=object)
    for row, study in enumerate(studies):
        if study.label:
            reads[row, [0, 1, 3, 4]] = study.label
    uptake, _ = _volumes(studies, uptake_of)
    variables: dict[str, Any] = {
        "uptake": uptake,
        "status": _texts([study.status for study in studies]),
        "error_code": _texts([study.code for study in studies]),
        "error_stage": _texts(["reconstruct" if study.code else "" for study in studies]),
        "error_reason": _texts([study.reason for study in studies]),
        "reads": (("study", "read"), reads),
        "counts": ("study", np.where(done, 3.0e6, np.nan)),
        "quality_correlation": ("study", np.where(done, 0.95, nothing)),
        "quality_outline_dice": ("study", np.where(done, 0.9, nothing)),
        "quality_coverage": ("study", np.where(done, 1.0, nothing)),
        "mirrored": ("study", np.array([study.mirrored for study in studies], dtype=bool)),
        "specific_binding_ratio": (("study", "region"), ratios),
    }
    coordinates: dict[str, Any] = {
        name: _texts([getattr(study, name) for study in studies]) for name in ("study", "site", "sex", "label", "split")
    }
    coordinates["scanner"] = _texts(["Acme SPECT 2" if one else "" for one in done])
    coordinates["age"] = ("study", np.array([study.age for study in studies], dtype=float))
    coordinates["region"] = ("region", list(schema.REGIONS))
    for axis, name in enumerate("xyz"):
        coordinates[name] = (name, schema.coordinates_mm(axis))
    given = {
        "config": json.dumps(Config().to_dict()),
        "datbatch_version": "0.1.0",
        "files": json.dumps({"found": 40, "skipped": {"not-dicom": 3, "wrong-modality": 2}}),
        "simulated": True,
    }
    return xr.Dataset(variables, coordinates, given if attributes is None else attributes)


def model_dataset(
    studies: Sequence[Synthetic], *, card: dict[str, Any] = CARD, created: str = "2026-01-01"
) -> xr.Dataset:
    n = len(studies)
    explained = np.array([bool(study.predicted) for study in studies], dtype=bool)
    regional = np.full((n, len(schema.REGIONS), len(schema.STATISTICS)), np.nan)
    for row, study in enumerate(studies):
        if explained[row]:
            regional[row, 0, schema.STATISTICS.index("hottest_mean")] = 0.5 * relevance_height(study)
    odds = np.array([{"positive": 2.0, "negative": -2.0}.get(study.predicted, np.nan) for study in studies])
    maps, _ = _volumes(studies, relevance_of)
    return xr.Dataset(
        {
            "map": maps,
            "regional": (("study", "region", "statistic"), regional),
            "probability": ("study", 1 / (1 + np.exp(-odds))),
            "log_odds": ("study", odds),
            "predicted": _texts([study.predicted for study in studies]),
            "inconsistent": ("study", np.array([study.inconsistent for study in studies], dtype=bool)),
        },
        attrs={"card": json.dumps(card), "created": created},
    )


def build_cohort(
    studies: Sequence[Synthetic] = WHOLE,
    models: Sequence[str] = ("first",),
    *,
    attributes: dict[str, Any] | None = None,
    card: dict[str, Any] = CARD,
) -> xr.DataTree:
    """Give a store as xarray opens it; models are as old as their place in the list."""
    groups = {"/": root_dataset(studies, attributes)}
    for age, model in enumerate(models):
        groups[f"/relevance/{model}"] = model_dataset(studies, card=card, created=f"2026-01-0{age + 1}")
    return xr.DataTree.from_dict(groups)

"""Everything that the store says of one study, for what shows or hands out single studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray

from datbatch import schema
from datbatch.cohort.attributes import stored_card
from datbatch.cohort.views.query import choose_model
from datbatch.errors import CorruptStoreError, StoreError

Floats = npt.NDArray[np.float64]
LEFT, RIGHT = "left", "right"


@dataclass(frozen=True)
class ModelResults:
    """What one model says of one study.

    Attributes
    ----------
    name : str
        Group under `relevance`.
    weights_sha256 : str
        Digest of the weights; empty where the store does not say.
    version : str
        Version of datbatch that trained it; empty where the store does not say.
    sign : float
        +1 or -1: relevance times it speaks for reduced uptake where it is positive.
    relevance : ndarray, shape (x, y, z), float32
        In the store's frame, as propagated: not multiplied by `sign`.
    regional : ndarray, shape (region, statistic), float64
        Statistics of `relevance`.
    probability : float
        Of the positive class.
    predicted : str
        negative or positive.
    inconsistent : bool
        Whether the map is typical of the class that was not predicted.
    """

    name: str
    weights_sha256: str
    version: str
    sign: float
    relevance: npt.NDArray[np.float32]
    regional: Floats
    probability: float
    predicted: str
    inconsistent: bool


@dataclass(frozen=True)
class StudyResults:
    """What the store says of one study that was processed to the end.

    Attributes
    ----------
    study : str
        Pseudonym.
    sex : str
        F, M, O or empty.
    age_years : float
        NaN where not known.
    simulated : bool
        Whether the archive was simulated.
    uptake : ndarray, shape (x, y, z), float32
        In the store's frame: ipsilateral side left (x < 0).
    mirrored : bool
        Whether left and right were exchanged for that: if so, ipsilateral is the patient's right side.
    template_to_study : ndarray, shape (4, 4), float64
        MNI mm to study mm, RAS, of the study as acquired.
    specific_binding_ratio : ndarray, shape (region,), float64
        In the order of `schema.REGIONS`.
    z_score : ndarray, shape (measure,), float64
        In the order of `schema.MEASURES`; NaN where there is no normal range, or only one of earlier tables.
    flags : tuple of str
        Codes of what was unusual, the quantification's among them.
    model : ModelResults or None
        Of the chosen model; None where there is none or where it did not explain the study.
    """

    study: str
    sex: str
    age_years: float
    simulated: bool
    uptake: npt.NDArray[np.float32]
    mirrored: bool
    template_to_study: Floats
    specific_binding_ratio: Floats
    z_score: Floats
    flags: tuple[str, ...]
    model: ModelResults | None

    def as_acquired(self, volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Undo the mirroring of a volume of the store: x < 0 becomes the patient's left (exact)."""
        return np.ascontiguousarray(volume[::-1] if self.mirrored else volume)

    def side(self, name: str) -> str:
        """Say which of the patient's sides `ipsilateral` or `contralateral` of a name is; empty for other names."""
        return patient_side(name, self.mirrored)

    def binding(self, region: str) -> float:
        """Give the specific binding ratio of a region."""
        return float(self.specific_binding_ratio[schema.REGIONS.index(region)])

    def z(self, measure: str) -> float:
        """Give the z-score of a measure."""
        return float(self.z_score[schema.MEASURES.index(measure)])


def patient_side(name: str, mirrored: bool) -> str:
    """Say which of the patient's sides `ipsilateral` or `contralateral` at the end of a name is; else empty."""
    if name.endswith("ipsilateral"):
        return RIGHT if mirrored else LEFT
    if name.endswith("contralateral"):
        return LEFT if mirrored else RIGHT
    return ""


def positions(cohort: xarray.DataTree, wanted: Sequence[str] | None = None, *, done: bool = True) -> list[int]:
    """Give the positions of studies in the store's order.

    Parameters
    ----------
    cohort : DataTree
        The opened store.
    wanted : sequence of str, optional
        Pseudonyms; all by default.
    done : bool
        Whether to take only studies that were processed to the end.

    Raises
    ------
    StoreError
        When a wanted study is not in the store, or was not processed to the end although `done` asks for it.
    """
    status = [str(one) for one in cohort.dataset["status"].values]
    names = [str(name) for name in cohort.dataset["study"].values]
    found = [index for index, one in enumerate(status) if not done or one == schema.DONE]
    if wanted is None:
        return found
    chosen = [index for index in found if names[index] in set(wanted)]
    if len(chosen) < len(set(wanted)):
        raise StoreError(
            f"{len(set(wanted)) - len(chosen)} of the named studies are not in the store or have no result",
            "Name studies by their pseudonym, as `datbatch export tables` lists them.",
        )
    return chosen


class ResultsReader:
    """Reads studies one by one; the tables are read once.

    Parameters
    ----------
    cohort : DataTree
        The opened store.
    model : str, optional
        Name of the model; the one made last by default.

    Raises
    ------
    ModelError
        When the named model is not in the store.
    """

    def __init__(self, cohort: xarray.DataTree, model: str | None = None) -> None:
        self._cohort = cohort
        self._chosen = choose_model(cohort, model)
        self._rows = _tables(cohort.dataset, schema.STUDY_TABLE)
        self._ranges: dict[str, Any] = {}
        self._explained: dict[str, Any] = {}
        self._card: dict[str, Any] = {}
        if schema.NORMAL_RANGE in cohort.children and not cohort[schema.NORMAL_RANGE].attrs.get("stale"):
            self._ranges = _tables(_group(cohort, schema.NORMAL_RANGE), schema.NORMAL_RANGE_TABLE)
        if self._chosen is not None:
            group = _group(cohort, f"relevance/{self._chosen}")
            self._explained, self._card = _tables(group, schema.RELEVANCE_TABLE), stored_card(group.attrs)

    def study(self, index: int) -> str:
        """Give the pseudonym of a study."""
        return str(self._rows["study"][index])

    def model(self, index: int) -> str | None:
        """Give the chosen model's name where it explained the study, else None."""
        explained = self._chosen is not None and str(self._explained["predicted"][index]) in schema.LABELS
        return self._chosen if explained else None

    def __getitem__(self, index: int) -> StudyResults:
        """Read one study.

        Raises
        ------
        CorruptStoreError
            When the stored bytes fail their checksum.
        """
        row = {name: values[index] for name, values in self._rows.items()}
        if "z_score" in self._ranges:
            z_score = np.asarray(self._ranges["z_score"][index], dtype=np.float64)
        else:
            z_score = np.full(len(schema.MEASURES), np.nan)
        return StudyResults(
            study=str(row["study"]),
            sex=str(row["sex"]),
            age_years=float(row["age"]),
            simulated=bool(self._cohort.attrs.get("simulated")),
            uptake=_volume(self._cohort.dataset[schema.UPTAKE.name], index),
            mirrored=bool(row["mirrored"]),
            template_to_study=np.asarray(row["template_to_study"], dtype=np.float64),
            specific_binding_ratio=np.asarray(row["specific_binding_ratio"], dtype=np.float64),
            z_score=z_score,
            flags=tuple(f"{row.get('flags', '')} {row.get('quantification_flags', '')}".split()),
            model=self._model_results(index),
        )

    def _model_results(self, index: int) -> ModelResults | None:
        name = self.model(index)
        if name is None:
            return None
        told, card = self._explained, self._card
        return ModelResults(
            name=name,
            weights_sha256=str(card.get("weights_sha256", "")),
            version=str((card.get("versions") or {}).get("datbatch", "")),
            sign=float((card.get("orientation") or {}).get("sign", 1.0)),
            relevance=_volume(_group(self._cohort, f"relevance/{name}")[schema.RELEVANCE_MAP.name], index),
            regional=np.asarray(told["regional"][index], dtype=np.float64),
            probability=float(told["probability"][index]),
            predicted=str(told["predicted"][index]),
            inconsistent=bool(told["inconsistent"][index]),
        )


def _volume(volumes: xarray.DataArray, index: int) -> npt.NDArray[np.float32]:
    try:
        return np.asarray(volumes[index].values, dtype=np.float32)
    except (ValueError, RuntimeError, OSError) as error:
        raise CorruptStoreError(f"a volume of {volumes.name} cannot be read: {type(error).__name__}") from error


def _group(cohort: xarray.DataTree, path: str) -> xarray.Dataset:
    found = cohort[path]
    assert isinstance(found, xarray.DataTree)
    return found.dataset


def _tables(dataset: xarray.Dataset, variables: Sequence[schema.Variable]) -> dict[str, Any]:
    return {one.name: dataset[one.name].values for one in variables if one.name in dataset.variables}

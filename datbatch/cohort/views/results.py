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
from datbatch.cohort.views.query import choose_model, group_of, normal_range
from datbatch.errors import CorruptStoreError, StoreError

Floats = npt.NDArray[np.float64]
LEFT, RIGHT = "left", "right"


@dataclass(frozen=True)
class ModelResults:
    """What one model says of one study."""

    name: str
    weights_sha256: str
    """Digest of the weights; like `version` empty where the store does not record it."""
    version: str
    """Version of datbatch that trained it."""
    sign: float
    """+1 or -1: relevance times it speaks for reduced uptake where it is positive."""
    relevance: npt.NDArray[np.float32]
    """Shape (x, y, z), in the store's frame, as propagated: not multiplied by `sign`."""
    regional: Floats
    """Statistics of `relevance`, shape (region, statistic)."""
    probability: float
    """Of the positive class."""
    predicted: str
    """negative or positive."""
    inconsistent: bool
    """Whether the map is typical of the class that was not predicted."""


@dataclass(frozen=True)
class StudyResults:
    """What the store says of one study that was processed to the end."""

    study: str
    """Pseudonym."""
    sex: str
    """F, M, O or empty."""
    age_years: float
    """NaN where not known."""
    simulated: bool
    """Whether the archive was simulated."""
    uptake: npt.NDArray[np.float32]
    """Shape (x, y, z), in the store's frame: ipsilateral side left (x < 0)."""
    mirrored: bool
    """Whether left and right were exchanged for that: if so, ipsilateral is the patient's right side."""
    template_to_study: Floats
    """Shape (4, 4): MNI mm to study mm, RAS, of the study as acquired."""
    specific_binding_ratio: Floats
    """In the order of `schema.REGIONS`."""
    z_score: Floats
    """In the order of `schema.MEASURES`; NaN where there is no normal range, or only one of earlier tables."""
    flags: tuple[str, ...]
    """Codes of what was unusual, the quantification's among them."""
    model: ModelResults | None
    """Of the chosen model; None where there is none or where it did not explain the study."""

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
    own = (RIGHT, LEFT) if mirrored else (LEFT, RIGHT)
    return next((side for end, side in zip(schema.SIDES, own, strict=True) if name.endswith(end)), "")


def positions(cohort: xarray.DataTree, wanted: Sequence[str] | None = None, *, done: bool = True) -> list[int]:
    """Give the positions of the named studies, or of all, in the store's order; with `done` only of processed ones.

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
    missing = len(set(wanted)) - len(chosen)
    if missing:
        raise StoreError(
            f"{missing} of the named studies are not in the store or have no result",
            "Name studies by their pseudonym, as `datbatch export tables` lists them.",
        )
    return chosen


class ResultsReader:
    """Reads studies one by one, with what the named model says, or the one made last; the tables are read once.

    Raises
    ------
    ModelError
        When the named model is not in the store.
    """

    def __init__(self, cohort: xarray.DataTree, model: str | None = None) -> None:
        self._cohort = cohort
        self._chosen = choose_model(cohort, model)
        self._rows = tables(cohort.dataset, schema.STUDY_TABLE)
        norms = normal_range(cohort)
        self._ranges = {} if norms is None else tables(norms, schema.NORMAL_RANGE_TABLE)
        self._explained: dict[str, Any] = {}
        self._card: dict[str, Any] = {}
        if self._chosen is not None:
            self._group = group_of(cohort, schema.relevance_group(self._chosen))
            self._explained, self._card = tables(self._group, schema.RELEVANCE_TABLE), stored_card(self._group.attrs)

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
        z_score = self._ranges["z_score"][index] if "z_score" in self._ranges else np.full(len(schema.MEASURES), np.nan)
        return StudyResults(
            study=str(row["study"]),
            sex=str(row["sex"]),
            age_years=float(row["age"]),
            simulated=bool(self._cohort.attrs.get("simulated")),
            uptake=_volume(self._cohort.dataset[schema.UPTAKE.name], index),
            mirrored=bool(row["mirrored"]),
            template_to_study=np.asarray(row["template_to_study"], dtype=np.float64),
            specific_binding_ratio=np.asarray(row["specific_binding_ratio"], dtype=np.float64),
            z_score=np.asarray(z_score, dtype=np.float64),
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
            relevance=_volume(self._group[schema.RELEVANCE_MAP.name], index),
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


def tables(dataset: xarray.Dataset, variables: Sequence[schema.Variable]) -> dict[str, npt.NDArray[Any]]:
    """Read those of the registry's variables that a group has."""
    return {one.name: dataset[one.name].values for one in variables if one.name in dataset.variables}

"""What an evaluation looks at: each study's truth, its set, its figures, and what one model says of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from datbatch.arrays import Bools, Floats, Ints, Texts
from datbatch.config import canonical_json


@dataclass(frozen=True)
class Cases:
    """The studies of a cohort and what a model says of them; what is not known is NaN, or empty text.

    Attributes
    ----------
    study : ndarray of str, shape (study,)
        Pseudonyms.
    label : ndarray of int, shape (study,)
        0 (negative), 1 (positive), -1 without label.
    split : ndarray of str, shape (study,)
        train, validation, test or empty, when the model was trained.
    site, sex : ndarray of str, shape (study,)
        As in the store.
    age_years, counts : ndarray of float64, shape (study,)
        Age at the examination; sum of all projections.
    binding_ratio : ndarray of float64, shape (study,)
        Specific binding ratio of the ipsilateral putamen.
    regional : ndarray of float64, shape (study, figure)
        Regional figures that a tree may use.
    regional_names : tuple of str
        Their names.
    z_score : ndarray of float64, shape (study,)
        Of `binding_ratio`, from the normal range; NaN throughout where there is none.
    normal_split : ndarray of str, shape (study,)
        The split when the normal range was fitted.
    reads : ndarray of str, shape (study, read)
        Single reads, in the order of `schema.READS`.
    log_odds : ndarray of float64, shape (study,)
        Of the positive class.
    putamen_relevance : ndarray of float64, shape (study,)
        Oriented relevance of the hottest voxels of the ipsilateral putamen.
    relevance_cut : float
        Cut of it that was learned on validation data.
    inconsistent : ndarray of bool, shape (study,)
        Map typical of the class that was not predicted.
    """

    study: Texts
    label: Ints
    split: Texts
    site: Texts
    sex: Texts
    age_years: Floats
    counts: Floats
    binding_ratio: Floats
    regional: Floats
    regional_names: tuple[str, ...]
    z_score: Floats
    normal_split: Texts
    reads: Texts
    log_odds: Floats
    putamen_relevance: Floats
    relevance_cut: float
    inconsistent: Bools

    def members(self, name: str) -> Bools:
        """Tell which labelled studies belong to a set."""
        return np.asarray((self.split == name) & (self.label >= 0))

    def digest(self) -> str:
        """Cover every value: an evaluation holds as long as this stays the same."""
        hashed = hashlib.sha256()
        for field in fields(self):
            values = np.asarray(getattr(self, field.name))
            if values.dtype.kind == "U":
                hashed.update(canonical_json([field.name, values.tolist()]).encode())
            else:
                # Zeros and NaNs of every kind are one.
                plain = np.where(np.isnan(values), np.nan, values + 0.0) if values.dtype.kind == "f" else values
                hashed.update(field.name.encode() + np.ascontiguousarray(plain).tobytes())
        return hashed.hexdigest()[:16]

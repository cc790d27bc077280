"""A fitted normal range as JSON, so that a single study is compared with it without the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from datbatch.arrays import Floats
from datbatch.config import canonical_json
from datbatch.errors import NormalRangeError
from datbatch.norms.covariates import Covariates
from datbatch.norms.normal_range import NormalRange, Prediction
from datbatch.norms.warnings import WARNINGS
from datbatch.schema import MEASURES

LAYOUT = 1
_COUNTS = ("normals", "outliers")
_PER_MEASURE, _PER_ROW = ("residual_sd", "site_sd"), ("site_effect", "site_variance", "quantile")
_ARRAYS = ("coefficient", "covariance", "site_columns", *_PER_MEASURE, *_PER_ROW)
_AGAIN = "Call `datbatch norms COHORT` again: it writes the file beside the models."


@dataclass(frozen=True)
class KeptRange:
    """A normal range with what must hold for a study to be compared with it."""

    fitted: NormalRange
    imaging: str
    """Digest of the stage `quantify`: the range holds only for uptake that was made in this way."""
    classes: frozenset[str]
    """Scanners and pixel sizes of its normal studies, see `warnings.reconstruction_class`."""

    def to_json(self) -> str:
        """Write it with every bit of its numbers; values that are not finite become null."""
        return canonical_json(
            {
                "layout": LAYOUT,
                "measures": MEASURES,
                "imaging": self.imaging,
                "classes": sorted(self.classes),
                "fitted": {name: _plain(value) for name, value in asdict(self.fitted).items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> KeptRange:
        """Read what `to_json` wrote; a `NormalRangeError` refuses damage, another layout, and other measures."""
        try:
            given = json.loads(text)
            if given["layout"] != LAYOUT or tuple(given["measures"]) != MEASURES:
                raise NormalRangeError("the kept normal range is of another version of datbatch", _AGAIN)
            found = cls(_range(given["fitted"]), str(given["imaging"]), frozenset(map(str, given["classes"])))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise NormalRangeError(f"the kept normal range cannot be read ({type(error).__name__})", _AGAIN) from error
        _check(found.fitted)
        return found

    def compare(
        self, values: Floats, *, age_years: float | None, sex: str, site: str, kind: str
    ) -> tuple[Prediction, tuple[str, ...]]:
        """Compare one study with what is normal; gives the prediction for it, and codes of `WARNINGS`.

        Parameters
        ----------
        values : ndarray, shape (measure,), float64
            In the order of `schema.MEASURES`; NaN where unknown.
        age_years : float, optional
        sex, site : str
            Empty where unknown. A site without normals counts as a mean one, with a wider interval.
        kind : str
            The study's class, see `warnings.reconstruction_class`.
        """
        age = np.array([np.nan if age_years is None else age_years])
        found = self.fitted.predict(values[None], age, np.array([sex]), np.array([site]))
        flags = {code: bool(mask[0]) for code, mask in found.warnings.items()}
        flags["class-without-normals"] = kind not in self.classes
        return found, tuple(code for code in WARNINGS if flags.get(code, False))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _range(given: Mapping[str, Any]) -> NormalRange:
    """Give the arrays back; null is NaN."""
    covariates, array = given["covariates"], partial(np.array, dtype=np.float64)
    low, high = array(given["age_range"]).tolist()
    tables: dict[str, Any] = {name: np.array(given[name], dtype=np.int64) for name in _COUNTS}
    tables |= {name: array(given[name]) for name in _ARRAYS}
    return NormalRange(
        covariates=Covariates(tuple(covariates["terms"]), *(array(covariates[name]) for name in ("mean", "variance"))),
        site_rows={str(name): int(row) for name, row in given["site_rows"].items()},
        normals_by_site={str(name): int(count) for name, count in given["normals_by_site"].items()},
        age_range=(low, high),
        sexes=frozenset(map(str, given["sexes"])),
        use_site=bool(given["use_site"]),
        **tables,
    )


def _check(fitted: NormalRange) -> None:
    """Refuse arrays that do not belong together: numpy would stretch some of them silently."""
    measures, terms, rows = len(MEASURES), len(fitted.terms), len(fitted.site_rows) + 1
    shapes = {
        "coefficient": (terms, measures),
        "covariance": (measures, terms, terms),
        "site_columns": (rows, terms, measures),
        **dict.fromkeys((*_PER_MEASURE, *_COUNTS), (measures,)),
        **dict.fromkeys(_PER_ROW, (rows, measures)),
    }
    wrong = [name for name, shape in shapes.items() if getattr(fitted, name).shape != shape]
    known = {terms - 1} == {fitted.covariates.mean.size, fitted.covariates.variance.size}
    if wrong or not known or sorted(fitted.site_rows.values()) != list(range(rows - 1)):
        raise NormalRangeError("the tables of the kept normal range do not belong together", _AGAIN)

"""Phantom recovery factors per camera: read safely, and applied to binding ratios."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from datbatch.arrays import Bools, Floats, Texts
from datbatch.errors import RecoveryTableError
from datbatch.norms.measures import BINDING_RATIOS, DEFINITION_OF
from datbatch.schema import DEFINITIONS

LARGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class RecoveryTable:
    """Share of the true binding ratio that a camera shows of a phantom."""

    key: Literal["scanner", "site"]
    """Column of the store that says which camera."""
    factors: Mapping[tuple[str, str], tuple[float, float]]
    """Camera and definition of region to recovery and its sd (NaN where unknown)."""
    digest: str
    """SHA-256 of the file: what may be stored of it, since its path may hold a name."""


@dataclass(frozen=True)
class Recovered:
    """Measures as they would be with full recovery."""

    values: Floats
    """Shape (study, measure); NaN where the factor is unknown."""
    sd: Floats
    """Part of it that the factor's own sd makes, shape (study, measure); NaN where that is unknown."""
    missing: Bools
    """Studies whose camera lacks the factor of a definition, shape (study,)."""


def read_recovery(path: Path) -> RecoveryTable:
    """Read a table of recovery factors.

    Parameters
    ----------
    path : Path
        CSV with a header: `scanner` (manufacturer and model, as in the store) or `site`; `definition` (of
        `schema.DEFINITIONS`); `recovery`, over 0 and at most 1; `sd`, optional.

    Raises
    ------
    RecoveryTableError
        When it cannot be read, or a row is wrong or given twice.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise RecoveryTableError("the table of recovery factors is larger than 1 MB")
        content = path.read_bytes()
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecoveryTableError(f"the table of recovery factors cannot be read: {type(error).__name__}") from error
    if not rows:
        raise RecoveryTableError("the table of recovery factors has no row")
    header = [str(name) for name in rows[0]]
    keys = [name for name in ("scanner", "site") if name in header]
    unknown = set(header) - {"scanner", "site", "definition", "recovery", "sd"}
    if len(keys) != 1 or unknown or not {"definition", "recovery"} <= set(header):
        raise RecoveryTableError("the table of recovery factors has other columns than the documented ones")
    key: Literal["scanner", "site"] = "scanner" if keys[0] == "scanner" else "site"
    factors: dict[tuple[str, str], tuple[float, float]] = {}
    for number, row in enumerate(rows, start=2):
        camera, definition = (row[key] or "").strip(), (row["definition"] or "").strip()
        recovery, sd = _number(row["recovery"], number), _number(row.get("sd") or "nan", number)
        if definition not in DEFINITIONS:
            raise RecoveryTableError(f"line {number}: the definition is none of {', '.join(DEFINITIONS)}")
        if not camera or not 0 < recovery <= 1 or sd < 0:
            raise RecoveryTableError(f"line {number} needs a {key}, a recovery over 0 and at most 1, a sd from 0")
        if (camera, definition) in factors:
            raise RecoveryTableError(f"line {number}: an earlier line has this {key} and definition")
        factors[camera, definition] = (recovery, sd)
    return RecoveryTable(key, factors, hashlib.sha256(content).hexdigest()[:16])


def recover(values: Floats, camera: Texts, table: RecoveryTable | None) -> Recovered:
    """Divide binding ratios by the recovery of their camera and definition.

    Asymmetry indices and ratios of structures stay: a common factor cancels. The sd is |value| sd / recovery^2, the
    first-order propagation of the factor's own. `values` are (study, measure), `camera` the scanner or site of each
    study, as `table.key` says. Without a table nothing is known: all NaN, none missing.
    """
    empty = np.full(values.shape, np.nan)
    if table is None:
        return Recovered(empty, empty.copy(), np.zeros(len(values), dtype=bool))
    unknown = (np.nan, np.nan)
    names, which = np.unique(camera.astype(str), return_inverse=True)
    factors = np.array([[table.factors.get((str(n), d), unknown) for d in DEFINITIONS] for n in names])
    of_measure = np.array([DEFINITIONS.index(definition) for definition in DEFINITION_OF])
    recovery, sd = np.moveaxis(factors[which.ravel()][:, of_measure], 2, 0)
    ratio = np.zeros(values.shape[1], dtype=bool)
    ratio[BINDING_RATIOS] = True
    corrected = np.where(ratio, values / recovery, np.where(np.isnan(recovery), np.nan, values))
    spread = np.where(ratio, np.abs(values) * sd / recovery**2, np.where(np.isnan(recovery), np.nan, 0.0))
    return Recovered(corrected, spread, np.isnan(recovery).any(axis=1))


def _number(text: str | None, line: int) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise RecoveryTableError(f"line {line}: a recovery or sd is not a number") from error

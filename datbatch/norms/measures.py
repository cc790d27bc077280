"""The measures that have a normal range, as one table."""

from __future__ import annotations

import itertools

import numpy as np

from datbatch.arrays import Floats
from datbatch.schema import BACKGROUNDS, DEFINITIONS, MEASURES, REFERENCE, SIDES, STRIATAL, STRUCTURES

_SIZES = tuple(len(DEFINITIONS) * len(names) for names in (STRIATAL, STRUCTURES, SIDES))
_STARTS = np.cumsum((0, *_SIZES))
FAMILIES = tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(_STARTS))
"""Where binding ratios, asymmetry indices and ratios of structures stand in `MEASURES`."""
BINDING_RATIOS = FAMILIES[0]

DEFINITION_OF = tuple(next(d for d in DEFINITIONS if d in name.split()) for name in MEASURES)
"""The definition of region that each measure rests on."""


def measures(binding_ratio: Floats, asymmetry_index: Floats, putamen_to_caudate_ratio: Floats) -> Floats:
    """Bring the store's tables of semi-quantification together as (study, measure), in the order of `schema.MEASURES`.

    Of the binding ratios (study, definition, background, striatal) only those to the reference region are taken;
    asymmetry indices are (study, definition, structure), ratios of structures (study, definition, side). NaN where
    a table has no finite value.
    """
    ratios = binding_ratio[:, :, BACKGROUNDS.index(REFERENCE)]
    tables = (ratios, asymmetry_index, putamen_to_caudate_ratio)
    values = np.concatenate([table.reshape(len(table), -1) for table in tables], axis=1)
    return np.where(np.isfinite(values), values, np.nan)

"""Which variables of the store are in which exported table, and what each of its columns means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datbatch import schema

LABELS = {
    "region": schema.REGIONS,
    "statistic": schema.STATISTICS,
    "read": schema.READS,
    "measure": schema.MEASURES,
    "angle": schema.ANGLES_DEG,
    "to": ("x", "y", "z", "1"),
    "from": ("x", "y", "z", "1"),
    **schema.BINDING_LABELS,
}
SIDED = ("region", "striatal", "side", "measure")
"""Dimensions whose names may say ipsilateral or contralateral."""
DIMENSION_WORDS = {
    "region": "region of the atlas",
    "statistic": "statistic of relevance in the region; positions in MNI mm",
    "read": "reader and read",
    "measure": "measure that has a normal range",
    "angle": "middle of the sector of the detector's angle in degrees, 0 at the back, growing to the left",
    "to": "row of the affine",
    "from": "column of the affine",
    "definition": "definition of the region whose uptake counts as bound",
    "background": "region whose uptake counts as not bound",
    "striatal": "structure and side",
    "structure": "structure",
    "side": "side: ipsilateral is that of lower putamen binding",
}
OTHER_WORDS = {
    "study": "pseudonym: keyed hash, the key is not among these files",
    "patient_side": "the patient's own side that the row is about: left, right or empty",
    "variable": "which figure the row gives",
    "value": "the figure, in the units of its variable",
    "model": "name of the trained model",
}
_AGE_WORDS = f"; ages above {schema.AGE_CAP_YEARS:g} are given as {schema.AGE_CAP_YEARS:g}"


@dataclass(frozen=True)
class Table:
    """One file: some variables of one group of the store, with a row for each cell of their dimensions."""

    name: str
    """Of the file, without suffix."""
    variables: tuple[schema.Variable, ...]
    """All of equal dimensions, unless the table is stacked."""
    stacked: bool = False
    """Whether variables of different dimensions stand below each other, in the columns `variable` and `value`."""

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions besides `study`, in the order of the variables."""
        return tuple(dict.fromkeys(dim for one in self.variables for dim in one.dims if dim != "study"))

    @property
    def sided(self) -> bool:
        """Whether a row may belong to one of the patient's sides."""
        return any(dim in SIDED for dim in self.dims)


def _with_dims(variables: Sequence[schema.Variable], *dims: str) -> tuple[schema.Variable, ...]:
    return tuple(one for one in variables if one.dims[1:] == dims)


_BINDING = ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio", "specific_binding_ratio")
ROOT_TABLES = (
    Table("studies", _with_dims(schema.STUDY_TABLE)),
    Table("reads", _with_dims(schema.STUDY_TABLE, "read")),
    Table("binding", tuple(one for one in schema.STUDY_TABLE if one.name in _BINDING), stacked=True),
    Table("projections", _with_dims(schema.STUDY_TABLE, "angle")),
    Table("normalisation", _with_dims(schema.STUDY_TABLE, "to", "from")),
)
RANGE_TABLES = (
    Table("normal_range_studies", _with_dims(schema.NORMAL_RANGE_TABLE)),
    Table("normal_range", _with_dims(schema.NORMAL_RANGE_TABLE, "measure")),
)
MODEL_TABLES = (
    Table("relevance_studies", _with_dims(schema.RELEVANCE_TABLE)),
    Table("relevance", _with_dims(schema.RELEVANCE_TABLE, "region", "statistic")),
)


def dictionary(table: Table, columns: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Explain each column of a table: type, unit, words, and the values that a dimension takes."""
    known = {one.name: one for one in table.variables}
    told: dict[str, dict[str, Any]] = {}
    for name in map(str, columns):
        if name in known:
            told[name] = describe(known[name])
        elif name in DIMENSION_WORDS:
            told[name] = {"type": "str", "description": DIMENSION_WORDS[name], "values": list(LABELS[name])}
        else:
            told[name] = {"type": "str", "description": OTHER_WORDS[name]}
    if "variable" in told:
        told["variable"]["values"] = {one.name: describe(one) for one in table.variables}
        told["value"]["type"] = "float64"
    return told


def describe(variable: schema.Variable) -> dict[str, Any]:
    """Explain one variable, from the registry of the store."""
    words = OTHER_WORDS["study"] if variable.name == "study" else variable.description
    return {
        "type": variable.dtype,
        "units": variable.units or None,
        "description": words + _AGE_WORDS * (variable.name == "age"),
    }

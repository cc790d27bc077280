"""Types of numbers with a range, and the check of a section of a TOML file against its types."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from datbatch.errors import ConfigurationError

_Section = TypeVar("_Section")

# Every float has two limits, so that infinity and NaN are refused.
Count = Annotated[int, Meta(ge=1)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Fraction = Annotated[float, Meta(gt=0, lt=1)]
Length = Annotated[float, Meta(ge=0, le=1000)]
Width = Annotated[float, Meta(ge=0, le=100)]
Sampling = Annotated[float, Meta(gt=0, le=50)]
Millilitres = Annotated[float, Meta(gt=0, le=1000)]
Delay = Annotated[float, Meta(ge=0, le=7 * 24 * 60)]
Activity = Annotated[float, Meta(ge=0, le=10_000)]


def read_section(kind: type[_Section], name: str, given: Any, *, ranges: bool = True, **built: Any) -> _Section:
    """Build one section of parameters from a dictionary of its keys.

    Parameters
    ----------
    kind : type
        Dataclass of the section.
    name : str
        Name of the section.
    given : dict
        Values by key; a key that it leaves out keeps its default.
    ranges : bool
        Whether numbers out of their range are refused, and not only wrong types.
    **built
        Values of further keys that are not in `given`.

    Raises
    ------
    ConfigurationError
        With the key, its value and what is allowed.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"[{name}] must be a section of keys")
    hints, values = get_type_hints(kind, include_extras=ranges), built
    for key, value in given.items():
        hint = find_known(key, hints, f"{name}.")
        try:
            # NumPy's float64 is a float, too.
            values[key] = msgspec.convert(float(value) if isinstance(value, float) else value, hint)
        except msgspec.ValidationError:
            raise ConfigurationError(f"{name}.{key} is {value!r}; it must be {allowed(hint)}") from None
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory is MISSING:
            raise ConfigurationError(f"{name}.{field.name} is missing; it must be {allowed(hints[field.name])}")
    return kind(**values)


def find_known(name: str, known: Mapping[str, Any], section: str = "") -> Any:
    """Look up a section, or a key of `section`; an unknown one is refused, and the nearest known name is told."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        told = f"did you mean {section}{near[0]}?" if near else f"known are {', '.join(known)}"
        raise ConfigurationError(f"unknown {'key' if section else 'section'} {section}{name}; {told}")
    return known[name]


def allowed(hint: Any, *, many: bool = False) -> str:
    """Say in words which values a type allows, such as "a number, over 0 and at most 100"."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Literal:
        return f"one of {', '.join(map(json.dumps, parts))}"
    if kind is UnionType:
        return " or ".join(map(allowed, parts))
    if kind in (list, tuple):
        return f"a list of {allowed(parts[0], many=True)}"
    if kind is dict:
        return f"for each name {allowed(parts[1])}"
    base, meta = parts if kind is Annotated else (hint, Meta())
    words = {"at least": meta.ge, "over": meta.gt, "at most": meta.le, "below": meta.lt}
    bounds = " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)
    name = {bool: "true or false", str: "a text", int: "a whole number", float: "a number"}[base]
    return (f"{name[2:]}s" if many else name) + (f", {bounds}" if bounds else "")

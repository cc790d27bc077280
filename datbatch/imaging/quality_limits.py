"""Flags of a study's projections: which of its stored figures are beyond which limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from datbatch.config import QualityConfig

FLAGS = (
    "count-jump",
    "views-missing",
    "views-repeated",
    "motion",
    "centre-of-rotation",
    "cut-top",
    "cut-base",
    "cut-side",
    "low-counts",
    "delay-unusual",
    "activity-unusual",
)
"""Codes of what is unusual about projections, in the order in which they are named."""
WITHOUT_FIGURE = ("edge_limit", "head_length_mm", "side_limit")
"""Limits whose figures no table keeps: their flags (`cut-...`) are set only where projections are read."""


def beyond_limits(figures: Mapping[str, Any], limits: QualityConfig) -> set[str]:
    """Name the kept figures that are beyond their limits; what is not known (None or NaN) is never flagged.

    The figures have their names in the table of studies. All limits but `WITHOUT_FIGURE` count.
    """

    def of(name: str) -> float:
        value = figures.get(name)
        return np.nan if value is None else float(value)

    delay, activity = of("injection_delay_min"), of("injected_activity_mbq")
    beyond = {
        "count-jump": of("count_jump") > limits.count_jump_limit,
        "motion": of("motion_mm") > limits.motion_limit_mm,
        "centre-of-rotation": abs(of("centre_of_rotation_mm")) > limits.centre_of_rotation_limit_mm,
        "low-counts": of("counts") < limits.minimum_counts,
        "delay-unusual": delay < limits.minimum_delay_min or delay > limits.maximum_delay_min,
        "activity-unusual": activity < limits.minimum_activity_mbq or activity > limits.maximum_activity_mbq,
    }
    return {code for code, is_beyond in beyond.items() if is_beyond}


def in_order(flags: Iterable[str]) -> tuple[str, ...]:
    """Put each flag once: those of the header as they come, then those of the projections."""
    given = dict.fromkeys(flags)
    return (*(code for code in given if code not in FLAGS), *(code for code in FLAGS if code in given))


def with_limits(values: Mapping[str, Any], limits: QualityConfig) -> dict[str, Any]:
    """Give the kept values of a study with all its flags: its own `flags`, and those of the limits."""
    own = str(values.get("flags", "")).split()
    return {**values, "flags": " ".join(in_order([*own, *beyond_limits(values, limits)]))}

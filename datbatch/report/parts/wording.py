"""How numbers and shares are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datbatch.report.parts.hypertext import Child, stacked

if TYPE_CHECKING:
    from datbatch.evaluation.estimates import Estimate, Proportion

SHARES = {
    "accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity",
    "positive_predictive_value": "PPV", "negative_predictive_value": "NPV",
}  # fmt: skip


def number(value: float, digits: int = 2) -> str:
    """Write a number; a dash for what is not finite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def signed(value: float) -> str:
    """Write a number with its sign."""
    return f"{value:+.1f}".replace("-", "−")


def scientific(value: float, digits: int = 2) -> str:
    """Write a signed number of any size, with a power of ten where it is small; a dash for what is not finite."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:+.{digits}e}".split("e")
    if -2 <= int(exponent) <= 3:
        return f"{value:+.3g}"
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{raised}"


def percent(share: Proportion) -> str:
    """Write a share in percent; a dash when there was nothing to count."""
    return f"{100 * share.value:.1f} %" if share.trials else "–"


def interval(share: Proportion) -> str:
    """Write counts and the confidence interval of a share."""
    if not share.trials:
        return "0 of 0"
    return f"{share.successes}/{share.trials}; 95 % CI {100 * share.low:.1f} to {100 * share.high:.1f}"


def stacked_share(given: Mapping[str, Any] | Proportion, unit: str = "") -> Child:
    """Write a proportion in percent for a table, with interval and counts below it; a dash for nothing counted."""
    found = given if isinstance(given, Mapping) else vars(given)
    if not found["trials"]:
        return "–"
    limits = f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"
    return stacked(f"{100 * found['value']:.1f}{unit}", limits, f"{found['successes']}/{found['trials']}")


def stacked_estimate(given: Mapping[str, Any] | Estimate | None) -> Child:
    """Write an estimate for a table, with its interval below it; a dash for none."""
    found = vars(given) if given is not None and not isinstance(given, Mapping) else given
    if found is None or found["value"] is None:
        return "–"
    error = found["standard_error"]
    known = error is not None and error > 0
    return stacked(f"{found['value']:.3f}", f"{found['low']:.3f} to {found['high']:.3f}" if known else "no interval")


def share(given: Mapping[str, Any]) -> str:
    """Write a stored proportion in percent with its interval and counts."""
    if not given["trials"]:
        return "- (no study)"
    limits = f"{100 * given['low']:.1f} to {100 * given['high']:.1f}"
    return f"{100 * given['value']:.1f} % ({limits}; {given['successes']}/{given['trials']})"


def estimate(given: Mapping[str, Any]) -> str:
    """Write a stored estimate with its interval."""
    if given["value"] is None:
        return "-"
    if not given["standard_error"]:
        return f"{given['value']:.3f} (no interval)"
    return f"{given['value']:.3f} ({given['low']:.3f} to {given['high']:.3f})"

"""How numbers and shares are written."""

from __future__ import annotations

import math

from datbatch.evaluation.estimates import Proportion


def number(value: float, digits: int = 2) -> str:
    """Write a number; a dash for what is not finite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


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

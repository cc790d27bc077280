"""Find the energy window of the photopeak."""

from __future__ import annotations

from dataclasses import dataclass

from datbatch.archive.dicom.elements import Elements
from datbatch.errors import NoPhotopeakError

_CENTIKEV_ABOVE = 1000.0
"""Some cameras store limits in 1/100 keV; no window of I-123 reaches 1000 keV."""

Limits = tuple[float, float]


@dataclass(frozen=True)
class Window:
    """One energy window: one or more ranges of energy whose counts the camera added."""

    number: int
    """Number in the energy window vector, from 1."""
    ranges_kev: tuple[Limits, ...]

    @property
    def limits_kev(self) -> Limits:
        """Lowest and highest energy; zeros where none is stated."""
        ends = [end for limits in self.ranges_kev for end in limits]
        return (min(ends), max(ends)) if ends else (0.0, 0.0)

    def covers(self, energy_kev: float) -> bool:
        """Tell whether one of the ranges contains an energy."""
        return any(lower <= energy_kev <= upper for lower, upper in self.ranges_kev)


def read_windows(elements: Elements) -> tuple[Window, ...]:
    """Read the energy windows of a header, in the order of their numbers."""
    return tuple(
        Window(number, tuple(filter(None, map(_limits_kev, item.items("EnergyWindowRangeSequence")))))
        for number, item in enumerate(elements.items("EnergyWindowInformationSequence"), start=1)
    )


def _limits_kev(item: Elements) -> Limits | None:
    lower, upper = item.number("EnergyWindowLowerLimit"), item.number("EnergyWindowUpperLimit")
    if lower is None or upper is None:
        return None
    unit = 0.01 if max(lower, upper) > _CENTIKEV_ABOVE else 1.0
    return lower * unit, upper * unit


def photopeak_limits(windows: tuple[Window, ...], energy_kev: float) -> tuple[Limits, ...]:
    """Give the limits (keV) of the window that covers the photopeak; the numbers of the windows do not matter.

    Of several windows the one with its centre nearest to the photopeak is chosen, then the widest one. Where two
    windows meet at the photopeak's energy, both are given. Without any, the study is refused.
    """
    stated = [window for window in windows if window.ranges_kev]
    covering = {window.limits_kev for window in stated if window.covers(energy_kev)}
    if not covering:
        if not stated:
            raise NoPhotopeakError("the header states no limits of energy windows")
        shown = ", ".join(f"{w.limits_kev[0]:g}-{w.limits_kev[1]:g}" for w in stated[:8])
        raise NoPhotopeakError(f"no energy window covers {energy_kev:g} keV; there are {shown} keV")
    below = [limits for limits in covering if limits[1] == energy_kev]
    above = [limits for limits in covering if limits[0] == energy_kev]
    if len(covering) == 2 and below and above:
        return below[0], above[0]

    def distance(limits: Limits) -> tuple[float, float]:
        return round(abs(sum(limits) / 2.0 - energy_kev)), limits[0] - limits[1]

    return (min(covering, key=distance),)

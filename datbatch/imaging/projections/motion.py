"""How the head moved while the camera turned, and where the axis of rotation projects to, from the projections alone.

Two numbers are measured in each view: how far its axial profile is shifted (Eisner et al. J Nucl Med 1987;28:97-101
compare successive profiles; here each is fitted to the mean one), and where its counts are centred across (centre of
rotation by curve fitting, IAEA-TECDOC-602, 1991). If the head lies still both run smoothly over the angle of the
detector. A movement is a step or drift in time that no smooth course explains; detectors that look from different
angles at the same moment help to tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d, median_filter

from datbatch.arrays import Floats

IntArray = npt.NDArray[np.int32]

AXIAL_COURSE_MM = (0.6, 0.5, 0.12, 0.08, 0.03, 0.03)
ACROSS_COURSE_MM = (30.0, 2.0, 0.5, 0.3, 0.12, 0.06)
"""Spread of the cosine and sine coefficients of each harmonic of the smooth course, as attenuation and depth make it.

Two to three times the root mean square over simulated heads of all poses. It tells a slow drift from attenuation, and
keeps the fit stable on arcs of 180 degrees.
"""
COURSE_ERROR_MM = 0.05
"""Error of the smooth course in a view."""
SIGNIFICANT = 20.0
"""Fall of chi squared from which a movement is believed; some 60 instants are tried for each."""
PENALTY = 8.0
"""What each free parameter must explain in addition; the Bayesian criterion would be 5, the logarithm of 120 views."""
MAX_MOVEMENTS = 4
HEADS_APART_MM = 1.5
"""Spread of the offset between detectors of a calibrated camera: larger ones are rather a movement."""
SMOOTHING_SIGMA_MM = 4.0
"""Blur of the axial profiles, so that they can be shifted by parts of a row."""
MARGIN_MM = 12.0
"""Rows so near an end of the profile are left out: what a shift moves in from outside is not known."""
SHIFT_ROUNDS = 4
SIGMA_PER_MEDIAN = 1.4826
"""Standard deviation of a Gaussian over the median of its absolute values."""
FLOOR_SHARE = 0.01
"""Share of the highest row that is added to the variance of every row."""


@dataclass(frozen=True)
class Positions:
    """One coordinate that was measured in every view."""

    mm: Floats
    """Shape (view,). Along the rows or the bins."""
    sigma_mm: Floats
    """Shape (view,). Standard deviation by counting noise; infinite where a view has no counts."""


@dataclass(frozen=True)
class Course:
    """What a measured coordinate did over the acquisition."""

    displacement_mm: Floats
    """Shape (moment, component). Of the head at each moment, against the first: axial, or in the two directions
    across."""
    offset_mm: Floats
    """Shape (head,). The constant of each head's curve."""


def axial_positions(profiles: Floats, row_size_mm: float) -> Positions:
    """Measure how far each view's axial profile is shifted towards higher rows, against the mean of all.

    Each profile p is fitted by least squares as g (r - s r'), with the mean profile r, its slope r', a gain g and a
    shift s. The profile is moved back and the fit repeated, so that large shifts are exact, too. `profiles` (view,
    row) hold the counts of rows that belong to the head.
    """
    rows = profiles.shape[1]
    smooth = gaussian_filter1d(profiles, SMOOTHING_SIGMA_MM / row_size_mm, axis=1, mode="nearest")
    margin = min(round(MARGIN_MM / row_size_mm), rows // 4)
    inner = slice(margin, rows - margin)
    shift = np.zeros(len(profiles))
    for _ in range(SHIFT_ROUNDS):
        moved = _shifted(smooth, shift)
        reference = moved.mean(axis=0)
        slope = np.gradient(reference)[inner]
        kept = reference[inner]
        variance = kept + FLOOR_SHARE * reference.max() + np.finfo(np.float64).tiny
        aa, ab, bb = (kept**2 / variance).sum(), (kept * slope / variance).sum(), (slope**2 / variance).sum()
        determinant = max(aa * bb - ab**2, np.finfo(np.float64).tiny)
        pa, pb = (moved[:, inner] @ (kept / variance)), (moved[:, inner] @ (slope / variance))
        gain, tilt = (bb * pa - ab * pb) / determinant, (aa * pb - ab * pa) / determinant
        with np.errstate(divide="ignore", invalid="ignore"):
            shift -= np.nan_to_num(np.clip(tilt / gain, -4.0, 4.0))
    # The variance of the fitted shift at the mean's counts, scaled to those of each view.
    counts = profiles.sum(axis=1)
    information = (bb - ab**2 / max(aa, np.finfo(np.float64).tiny)) * counts / max(counts.mean(), 1e-12)
    with np.errstate(divide="ignore"):
        sigma = 1.0 / np.sqrt(np.maximum(information, 0.0))
    return Positions(shift * row_size_mm, sigma * row_size_mm)


def across_positions(profiles: Floats, pixel_size_mm: float) -> Positions:
    """Measure where each view's counts are centred along the bins, from the middle of the matrix, (bins - 1) / 2.

    `profiles` (view, bin) hold the counts of the head's rows.
    """
    place = (np.arange(profiles.shape[1]) - (profiles.shape[1] - 1) / 2) * pixel_size_mm
    counts = profiles.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.nan_to_num(profiles @ place / counts)
        spread = np.sqrt((profiles * (place - centre[:, None]) ** 2).sum(axis=1)) / counts
    return Positions(centre, np.where(counts > 0, spread, np.inf))


def axial_course(measured: Positions, angles_deg: Floats, head: IntArray, moment: IntArray) -> Course:
    """Find the head's movement along the axis from `axial_positions`.

    `head` says which detector took a view, `moment` its place in time among that detector's views; both from 0.
    """
    # Detectors need not stand at the same height; rows count downwards.
    direction = -np.ones((len(angles_deg), 1))
    return _course(measured, _SmoothCourse(np.radians(angles_deg), AXIAL_COURSE_MM), direction, head, moment)


def across_course(measured: Positions, angles_deg: Floats, head: IntArray, moment: IntArray) -> Course:
    """Find the head's movement across the axis, and the offset of the centre of rotation, from `across_positions`.

    A point (x, y) in LPS mm is seen at bin coordinate u = c - x cos a + y sin a by the detector at angle a, with
    the offset c of the centre of rotation. The centre of the counts follows this curve, but attenuation adds
    harmonics. A step along the rays of its moment, towards or away from the detectors, is not seen then: the views
    that follow show it, if it does not look like attenuation. Opposed detectors whose offsets differ look much like
    a slow drift: small differences are taken for the detectors', large ones for the head's.
    """
    turn = np.radians(angles_deg)
    direction = np.stack([-np.cos(turn), np.sin(turn)], axis=1)
    return _course(measured, _SmoothCourse(turn, ACROSS_COURSE_MM), direction, head, moment)


def largest_distance_mm(displacement_mm: Floats) -> float:
    """Give the largest distance between any two of the places (moment, component)."""
    between = displacement_mm[:, None, :] - displacement_mm[None, :, :]
    return float(np.sqrt((between**2).sum(axis=-1)).max())


def _shifted(profiles: Floats, shift: Floats) -> Floats:
    """Move each profile back by its shift, in rows; linear between rows, the end rows go on."""
    rows = profiles.shape[1]
    place = np.clip(np.arange(rows) + shift[:, None], 0, rows - 1)
    below = np.minimum(place.astype(np.int64), rows - 2)
    share = place - below
    return np.asarray(
        (1 - share) * np.take_along_axis(profiles, below, 1) + share * np.take_along_axis(profiles, below + 1, 1)
    )


@dataclass(frozen=True)
class _SmoothCourse:
    """A constant and harmonics of the angle, whose coefficients are known to be small.

    Gaussian priors become further rows of the least squares: each says that a coefficient over its spread is zero.
    """

    turn_rad: Floats
    spread_mm: tuple[float, ...]

    def columns(self) -> Floats:
        """Give 1, cos a, cos 2a ... sin a, sin 2a ..., shape (view, column)."""
        turn = self.turn_rad[:, None] * np.arange(1, len(self.spread_mm) + 1)
        return np.hstack([np.ones((len(turn), 1)), np.cos(turn), np.sin(turn)])

    def prior(self) -> Floats:
        """Give the rows of the prior, shape (row, column)."""
        inverse = 1.0 / np.array(self.spread_mm * 2)
        return np.hstack([np.zeros((inverse.size, 1)), np.diag(inverse)])


def _course(measured: Positions, smooth: _SmoothCourse, direction: Floats, head: IntArray, moment: IntArray) -> Course:
    """Add to the smooth course, one by one, the movements and the offsets of heads that explain most."""
    shapes = _movements(int(moment.max()) + 1)
    heads = np.unique(head)
    weight = 1.0 / np.hypot(_inflated(measured, head, moment), COURSE_ERROR_MM)
    known, apart = smooth.prior(), np.eye(heads.size - 1) / HEADS_APART_MM
    rows = len(known) + len(apart)

    def weighted(columns: Floats) -> Floats:
        return np.vstack([columns * weight[:, None], np.zeros((rows, columns.shape[1]))])

    basis = weighted(smooth.columns())
    basis[len(weight) : len(weight) + len(known)] = known
    blocks = [weighted(direction * shape[moment][:, None]) for shape in shapes]
    if heads.size > 1:
        offsets = weighted((head[:, None] == heads[None, 1:]).astype(np.float64))
        offsets[len(weight) + len(known) :] = apart
        blocks.append(offsets)
    values = np.append(measured.mm * weight, np.zeros(rows))
    chosen: list[int] = []
    while len(chosen) < MAX_MOVEMENTS:
        gains = _gains(values, np.hstack([basis, *(blocks[k] for k in chosen)]), blocks)
        gains -= PENALTY * np.array([block.shape[1] for block in blocks])
        gains[chosen] = 0.0
        best = int(np.argmax(gains))
        if gains[best] < SIGNIFICANT:
            break
        chosen.append(best)
    solution = np.linalg.lstsq(np.hstack([basis, *(blocks[k] for k in chosen)]), values, rcond=None)[0]
    displacement = np.zeros((len(shapes), direction.shape[1]))
    offset = np.full(heads.size, solution[0])
    place = basis.shape[1]
    for k in chosen:
        found = solution[place : place + blocks[k].shape[1]]
        place += found.size
        if k < len(shapes):
            displacement += shapes[k][:, None] * found
        else:
            offset[1:] += found
    return Course(displacement, offset)


def _movements(moments: int) -> Sequence[Floats]:
    """Give the movements that are tried: a steady drift, and a step at each moment but the first."""
    time = np.arange(moments, dtype=np.float64)
    return [time / max(moments - 1, 1), *((time >= start).astype(np.float64) for start in range(1, moments))]


def _gains(values: Floats, design: Floats, blocks: Sequence[Floats]) -> Floats:
    """Give the fall of chi squared when each block of columns joins the design."""
    orthogonal, _ = np.linalg.qr(design)
    rest = values - orthogonal @ (orthogonal.T @ values)
    gains = np.zeros(len(blocks))
    for k, block in enumerate(blocks):
        new = block - orthogonal @ (orthogonal.T @ block)
        size = np.linalg.norm(new, axis=0).max()
        if size < 1e-3 * max(float(np.linalg.norm(block, axis=0).max()), 1e-12):
            continue
        left, singular, _ = np.linalg.svd(new, full_matrices=False)
        kept = left[:, singular > 0.05 * singular[0]]
        gains[k] = float(((kept.T @ rest) ** 2).sum())
    return gains


def _inflated(measured: Positions, head: IntArray, moment: IntArray) -> Floats:
    """Scale the noise up where neighbouring views differ by more than counting noise (scaled or filtered counts)."""
    order = np.lexsort((moment, head))
    same = np.diff(head[order]) == 0
    step = np.diff(measured.mm[order])[same]
    expected = np.hypot(measured.sigma_mm[order][1:], measured.sigma_mm[order][:-1])[same]
    usable = np.isfinite(expected) & (expected > 0)
    if usable.sum() < 8:
        return measured.sigma_mm
    # The smooth course itself moves on from view to view; its own step is taken off before.
    step = (step - median_filter(step, 9, mode="mirror"))[usable] / expected[usable]
    return measured.sigma_mm * max(1.0, SIGMA_PER_MEDIAN * float(np.median(np.abs(step))))

"""People, disease, pose and image statistics of a study, each a function of the seed and the study's number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from datbatch.simulation.identity import Identity, draw_identity
from datbatch.simulation.phantom import SIDES, Anatomy, Side, StriatalBinding, StriatalShape, Uptake
from datbatch.simulation.sites import SITES, site_named

Atypical = Literal["none", "caudate", "hemisphere"]
Cut = Literal["none", "top", "base"]

POSITIVE_SHARE = 620 / 1296
FEMALE_SHARE = {"negative": 296 / 676, "positive": 246 / 620}
ATYPICAL_SHARE = 10 / 1306
"""Nazari et al. 2022, doi 10.1007/s00259-021-05569-9."""
CUT_SHARE = 0.04

EVIDENCE_THRESHOLD = 0.30
"""From this loss of putaminal binding on a study is positive: on the worse side, relative to age and sex."""

THICKNESS_SD = 0.045
"""Standard deviation between people of the radii of striatal structures, relative to the mean and the head's size."""
VOLUME_EXPONENT = 2.15
"""Volume of the tubes is proportional to this power of their thickness."""
PUTAMEN_VOLUME_ASYMMETRY, CAUDATE_VOLUME_ASYMMETRY = 0.045, 0.055
"""Standard deviation between people of (left - right) / mean of the two volumes, around that of the mean shapes.

Measured: 0.043 and 0.057 in 581 healthy people of the IXI archive; 0.044 and 0.051 in 1,035 people of ABIDE; 0.053 and
0.065 in 3,929 scans of 1,000 people of 69 years and more (table of volumes of Gomez-Ramirez et al. 2021, "The brain is
globally symmetric"). In the last, 0.037 and 0.038 of it is scatter between yearly scans of one person, and the volumes
of the two sides correlate with 0.86 and 0.88. All by FreeSurfer; deviations are taken from the quartiles.
"""

SUBJECT, PERSON, NOISE, READERS = 0, 1, 2, 3
"""Independent streams of random numbers of one study."""

PIVOT_MM = np.array([0.0, -17.0, 0.0])
"""Middle of the head in MNI space; size and rotation act around this point."""


@dataclass(frozen=True)
class Pose:
    """Affine from MNI to study space, p -> R S diag(size) (p - pivot) + centre, in mm RAS."""

    size: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Scale along x, y, z."""
    shear: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Upper triangle (xy, xz, yz) of S."""
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Pitch about x, roll about y, yaw about z, in this order."""
    centre_mm: tuple[float, float, float] = (0.0, -17.0, 0.0)
    """Place of the pivot (0, -17, 0) in the study."""

    def matrix(self) -> npt.NDArray[np.float64]:
        """Give the (4, 4) matrix from MNI mm to study mm."""
        pitch, roll, yaw = np.radians(self.rotation_deg)
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        about_y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
        about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        shear = np.array([[1, self.shear[0], self.shear[1]], [0, 1, self.shear[2]], [0, 0, 1]])
        matrix = np.eye(4)
        matrix[:3, :3] = about_z @ about_y @ about_x @ shear @ np.diag(self.size)
        matrix[:3, 3] = np.array(self.centre_mm) - matrix[:3, :3] @ PIVOT_MM
        return matrix


@dataclass(frozen=True)
class Subject:
    """Everything that was drawn for one study; `dataclasses.replace` gives variants."""

    index: int
    """Number of the study; its random numbers follow from it and from the seed."""
    seed: int
    site: str
    sex: Literal["F", "M"]
    age_years: float
    severity: float
    """Nigrostriatal degeneration on the more affected side: 0 none, 1 end stage."""
    asymmetry: float
    """The other side's severity is severity * (1 - asymmetry)."""
    side: Side
    """Side that is more affected."""
    atypical: Atypical
    """Structural damage on `side`: of the caudate, or of the whole striatum; then `severity` is near zero."""
    gain: dict[Side, float]
    """Individual factor on each side's binding."""
    caudate_ratio: float
    """Caudate binding over putamen binding in health."""
    pose: Pose
    cut: Cut
    """Whether the axial field of view leaves out the vertex or the base of the brain."""
    cut_height_mm: float
    """MNI height at which a cut field of view ends, above (top) or below (base) the striatum."""
    putamen: dict[Side, StriatalShape]
    caudate: dict[Side, StriatalShape]
    ventricle_size: float
    """Factor on the ventricles' radii."""
    uptake: Uptake
    expected_counts: float
    """Mean total of the photopeak projections."""
    radius_mm: float
    """Radius of rotation."""


def stream(seed: int, index: int, which: int) -> np.random.Generator:
    """Give one of a study's independent random streams."""
    return np.random.default_rng([seed, index, which])


def draw_subject(index: int, seed: int = 0) -> Subject:
    """Draw study number `index`, from 0: a function of `index` and the archive's `seed` alone.

    Class and site follow a low-discrepancy sequence over the index: so small archives have all of them in the right
    shares. Everything else is independent.
    """
    rng = stream(seed, index, SUBJECT)
    offset = np.random.default_rng([seed]).random(2)
    # Roberts' R2 sequence: powers of the inverse plastic number.
    by_class, by_site = np.mod(offset + index * np.array([0.7548776662466927, 0.5698402909980532]), 1.0)
    positive = bool(by_class < POSITIVE_SHARE)
    site = SITES[int(np.searchsorted(np.cumsum([s.share for s in SITES])[:-1], by_site, side="right"))]
    label = "positive" if positive else "negative"
    sex: Literal["F", "M"] = "F" if rng.random() < FEMALE_SHARE[label] else "M"
    age = float(np.clip(rng.normal(67.2, 11.0), 27.0, 92.0))
    atypical = _draw_atypical(rng)
    severity, asymmetry, gain, side = _draw_disease(rng, positive, atypical)
    is_cut = rng.random() < CUT_SHARE
    cut: Cut = "none" if not is_cut else "top" if rng.random() < 0.6 else "base"
    return Subject(
        index=index,
        seed=seed,
        site=site.name,
        sex=sex,
        age_years=age,
        severity=severity,
        asymmetry=asymmetry,
        side=side,
        atypical=atypical,
        gain=gain,
        caudate_ratio=float(np.clip(rng.normal(1.04, 0.06), 0.9, 1.2)),
        pose=_draw_pose(rng, sex),
        cut=cut,
        cut_height_mm=float(rng.uniform(38.0, 55.0) if cut == "top" else rng.uniform(-42.0, -26.0)),
        putamen=_draw_shapes(rng, PUTAMEN_VOLUME_ASYMMETRY),
        caudate=_draw_shapes(rng, CAUDATE_VOLUME_ASYMMETRY),
        ventricle_size=float(np.clip(1.0 + 0.010 * (age - 60) + rng.normal(0, 0.12), 0.7, 1.9)),
        uptake=_draw_uptake(rng),
        expected_counts=float(np.clip(3.8e6 * site.sensitivity * np.exp(rng.normal(0, 0.28)), 1.5e6, 6e6)),
        radius_mm=float(np.clip(rng.normal(139.0, 4.0), 130.0, 150.0)),
    )


def draw_person(subject: Subject) -> Identity:
    """Invent who the subject is."""
    return draw_identity(stream(subject.seed, subject.index, PERSON), subject.age_years)


def normal_binding(age_years: float, sex: str) -> float:
    """Give the mean putaminal binding ratio in health: 5.5 % (of that at 65) less per decade, 6 % more in women."""
    return NORMAL_PUTAMEN_BINDING * (1 - 0.0055 * (age_years - 65)) * (1.03 if sex == "F" else 0.97)


NORMAL_PUTAMEN_BINDING = 6.6
"""True ratio at 65 years. An image without corrections of blur, scatter and attenuation shows less than a third of it;
methods that recover the whole striatal signal find about 7 in healthy people of this age."""


def striatal_binding(subject: Subject) -> dict[Side, StriatalBinding]:
    """Give the true binding ratios of each side; the posterior putamen loses binding first, the caudate last."""
    binding: dict[Side, StriatalBinding] = {}
    for side in SIDES:
        worse = side == subject.side
        severity = subject.severity * (1.0 if worse else 1 - subject.asymmetry)
        caudate, anterior, posterior = _remaining(severity)
        if worse and subject.atypical == "caudate":
            caudate = 0.12
        if worse and subject.atypical == "hemisphere":
            caudate = anterior = posterior = 0.04
        normal = normal_binding(subject.age_years, subject.sex) * subject.gain[side]
        binding[side] = StriatalBinding(
            caudate * normal * subject.caudate_ratio, anterior * normal, posterior * normal * 0.97
        )
    return binding


def evidence(subject: Subject) -> float:
    """Give the loss of putaminal binding on the worse side, relative to the mean of age and sex."""
    lowest = min(binding.putamen(side) for side, binding in striatal_binding(subject).items())
    return 1 - lowest / normal_binding(subject.age_years, subject.sex)


def true_label(subject: Subject) -> str:
    """Give "atypical", "positive" (from `EVIDENCE_THRESHOLD` on), or "negative"."""
    if subject.atypical != "none":
        return "atypical"
    return "positive" if evidence(subject) >= EVIDENCE_THRESHOLD else "negative"


def template_to_study(subject: Subject) -> npt.NDArray[np.float64]:
    """Give the (4, 4) affine from MNI mm to study mm (RAS); a cut field of view moves the head along the axis."""
    matrix = subject.pose.matrix()
    if subject.cut != "none":
        end = matrix @ np.array([0.0, -10.0, subject.cut_height_mm, 1.0])
        edge = site_named(subject.site).camera.field_of_view_mm / 2 * (1 if subject.cut == "top" else -1)
        matrix[2, 3] += edge - end[2]
    return matrix


def anatomy(subject: Subject) -> Anatomy:
    """Give the subject's anatomy and uptake in MNI space."""
    return Anatomy(striatal_binding(subject), subject.uptake, subject.putamen, subject.caudate, subject.ventricle_size)


def _remaining(severity: float) -> tuple[float, float, float]:
    """Give the remaining shares of binding in caudate, anterior and posterior putamen."""
    posterior = 0.90 * (1 - np.exp(-4.0 * severity)) / (1 - np.exp(-4.0))
    anterior = 0.82 * severity**1.1
    caudate = 0.68 * severity**1.6
    return float(1 - caudate), float(1 - anterior), float(1 - posterior)


def _draw_disease(
    rng: np.random.Generator, positive: bool, atypical: Atypical
) -> tuple[float, float, dict[Side, float], Side]:
    """Draw severity, asymmetry, gains and side until the loss of binding lies on the right side of the threshold."""
    side: Side = "left" if rng.random() < 0.5 else "right"
    while True:
        common = float(np.clip(rng.normal(1.0, 0.10), 0.75, 1.3))
        gain: dict[Side, float] = {s: common * float(np.clip(rng.normal(1, 0.025), 0.93, 1.07)) for s in SIDES}
        if atypical != "none":
            return float(abs(rng.normal(0, 0.03))), 0.0, gain, side
        if positive:
            severity, asymmetry = 0.14 + 0.86 * rng.beta(2.1, 2.1), 0.85 * rng.beta(1.8, 2.6)
        else:
            borderline = rng.random() < 0.15
            severity, asymmetry = float(rng.uniform(0, 0.25) if borderline else abs(rng.normal(0, 0.05))), rng.random()
        caudate, anterior, posterior = _remaining(severity)
        loss = 1 - gain[side] * StriatalBinding(caudate, anterior, 0.97 * posterior).putamen(side)
        if (loss >= EVIDENCE_THRESHOLD) == positive:
            return float(severity), float(asymmetry), gain, side


def _draw_atypical(rng: np.random.Generator) -> Atypical:
    drawn = rng.random()
    if drawn >= ATYPICAL_SHARE:
        return "none"
    return "caudate" if drawn < ATYPICAL_SHARE / 2 else "hemisphere"


def _draw_pose(rng: np.random.Generator, sex: str) -> Pose:
    overall = rng.normal(0.945 if sex == "F" else 0.975, 0.025)
    size = overall * (1 + rng.normal(0, [0.018, 0.018, 0.022]))
    rotation = np.clip(rng.normal(0, [6.0, 3.0, 4.5]), -15, 15)
    centre = np.clip(rng.normal([0, 0, -5], [5.0, 5.0, 10.0]), [-10, -10, -27], [10, 10, 17])
    shear = np.clip(rng.normal(0, 0.015, 3), -0.04, 0.04)
    return Pose(_triple(np.clip(size, 0.88, 1.06)), _triple(shear), _triple(rotation), _triple(centre))


def _draw_shapes(rng: np.random.Generator, volume_asymmetry: float) -> dict[Side, StriatalShape]:
    """Draw a structure's shape on both sides: independent positions, correlated thicknesses.

    Each side's thickness varies between people by `THICKNESS_SD`; the difference between the sides of one person
    follows from the asymmetry of volumes. So sum and difference of two random numbers are weighted differently.
    """
    drawn = {side: (np.clip(rng.normal(0, 0.8, 3), -2, 2), rng.normal()) for side in SIDES}
    left, right = (drawn[side][1] for side in SIDES)
    own = volume_asymmetry / VOLUME_EXPONENT / (2 * THICKNESS_SD)
    shared = np.sqrt(1 - own**2) * (left + right) / np.sqrt(2)
    apart = own * (left - right) / np.sqrt(2)
    return {
        side: StriatalShape(_triple(shift), float(np.clip(1 + THICKNESS_SD * (shared + sign * apart), 0.88, 1.12)))
        for sign, (side, (shift, _)) in zip((1, -1), drawn.items(), strict=True)
    }


def _draw_uptake(rng: np.random.Generator) -> Uptake:
    def around(mean: float, spread: float) -> float:
        return mean * float(np.clip(1 + rng.normal(0, spread), 1 - 2.5 * spread, 1 + 2.5 * spread))

    return Uptake(
        grey_matter=around(1.04, 0.02),
        white_matter=around(0.90, 0.03),
        cerebellum=around(0.95, 0.04),
        thalamus=around(1.45, 0.08),
        brain_stem=around(1.35, 0.08),
        ventricles=around(0.35, 0.15),
        skull=around(0.25, 0.15),
        scalp=around(0.55, 0.20),
        soft_tissue=around(0.50, 0.12),
        glands=around(1.9, 0.25),
    )


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z

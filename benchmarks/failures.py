"""How well failed normalisations are told from good ones, on studies whose true affine is known.

    python benchmarks/failures.py --studies 110 --seed 2        what share of failures is found
    python benchmarks/failures.py --studies 110 --seed 1 --fit  weights for datbatch/imaging/registration/reliability.py

A result counts as a failure when its mean error exceeds 5 mm in the brain or 4 mm in the striata, or when there is no
head at all. The good ones are what the registration gives; failures are made on purpose. Results made on purpose that
are no failures are left out.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from landmarks import error_mm, landmarks
from posed_heads import GROUPS, PosedHead, posed_head
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from datbatch.config import RegisterConfig
from datbatch.errors import DatbatchError
from datbatch.imaging import Volume, load_template
from datbatch.imaging.registration.register import find_pose, prepare, refine
from datbatch.imaging.registration.reliability import (
    FAILED_BRAIN_MM,
    FAILED_STRIATAL_MM,
    failure_probability,
    failure_terms,
    quality_scores,
)

FALSE_ALARMS = 0.02
RIDGE = 0.3
"""Penalty on the squared weights of standardised terms."""
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One result: how it came about, what is wrong with it, and its scores; `error_mm` is infinite without a head."""

    kind: str
    failed: bool
    error_mm: float
    quality: dict[str, float]


class Bench:
    """One pair of study and template, ready to try affines on."""

    def __init__(self, study: Volume, template: Volume, true: _Array | None) -> None:
        self.fine, self.coarse, centre_mm = prepare(study, template, RegisterConfig())
        self.true, self.points = true, landmarks()
        self.start = _shifted(centre_mm)
        self.centre = _shifted(self.fine.near.centre_mm)

    def judged(self, kind: str, affine: _Array) -> Judged:
        brain = striatal = np.inf
        if self.true is not None:
            found = affine @ np.linalg.inv(self.centre)
            brain, striatal = (error_mm(found, self.true, self.points[name]) for name in ("brain", "striatal"))
        failed = brain > FAILED_BRAIN_MM or striatal > FAILED_STRIATAL_MM
        return Judged(kind, failed, brain, quality_scores(self.fine, self.coarse, affine))

    def fitted(self, start: _Array) -> _Array:
        return refine(self.fine, find_pose(self.coarse, start))


def _shifted(shift_mm: _Array) -> _Array:
    matrix = np.eye(4)
    matrix[:3, 3] = shift_mm
    return matrix


def _turn(rng: np.random.Generator, degrees: float) -> _Array:
    axis = rng.normal(size=3)
    return np.asarray(Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix())


def _linear(matrix: _Array) -> _Array:
    affine = np.eye(4)
    affine[:3, :3] = matrix
    return affine


def results(head: PosedHead, template: Volume, rng: np.random.Generator, number: int) -> Iterator[Judged]:
    """Give one real result and many that went wrong."""
    bench = Bench(head.volume, template, head.template_to_study)
    true = head.template_to_study @ bench.centre
    yield bench.judged("real", bench.fitted(bench.start))
    for _ in range(8):
        size = float(np.exp(rng.uniform(np.log(4), np.log(40))))
        turn, shift, stretch = size * rng.dirichlet([1, 1, 1])
        direction = rng.normal(size=3)
        wrong = _shifted(shift * direction / np.linalg.norm(direction))
        sizes = np.exp(stretch * (0.012 * rng.choice([-1, 1]) + 0.006 * rng.normal(size=3)))
        yield bench.judged("perturbed", true @ wrong @ _linear(_turn(rng, 1.2 * turn) @ np.diag(sizes)))
    for low, high, kind in ((20, 110, "stopped early"), (90, 180, "far start, no retry")):
        for _ in range(2):
            start = bench.start @ _linear(_turn(rng, rng.uniform(low, high))) @ _shifted(rng.normal(0, 15, 3))
            if kind == "stopped early":
                yield bench.judged(kind, find_pose(bench.coarse, start, int(rng.integers(1, 5))))
            else:
                yield bench.judged(kind, bench.fitted(start))
    flip = _linear(np.diag(np.roll([1.0, -1.0, -1.0], number % 3)))
    yield bench.judged("turned over", true @ flip)
    yield bench.judged("turned over, fitted again", bench.fitted(true @ flip))
    for sign in (-1, 1):
        yield bench.judged("wrong size", true @ _linear(np.eye(3) * np.exp(sign * rng.uniform(0.1, 0.35))))
    for kind, study, other, known in _wrong_inputs(head, template, rng, number):
        try:
            spoilt = Bench(study, other, head.template_to_study if known else None)
        except DatbatchError:
            continue
        yield spoilt.judged(kind, spoilt.fitted(spoilt.start))


def _wrong_inputs(
    head: PosedHead, template: Volume, rng: np.random.Generator, number: int
) -> Iterator[tuple[str, Volume, Volume, bool]]:
    """Give a wrong template, an image without a head, and a head of which half is missing."""
    axes = [template.affine * np.array([1, 1, 0.65, 1]), template.affine[[0, 2, 1, 3]], template.affine]
    upside_down = template.data[:, :, ::-1] if number % 3 == 2 else template.data
    yield "wrong template", head.volume, Volume(np.ascontiguousarray(upside_down), axes[number % 3]), True
    yield "no head", Volume(_no_head(head.volume, rng, number), head.volume.affine), template, False
    middle = head.template_to_study @ np.array([0, -10, rng.uniform(-10, 20), 1])
    slice_ = int((middle[2] - head.volume.affine[2, 3]) / head.volume.affine[2, 2])
    data = head.volume.data.copy()
    data[:, :, slice(slice_, None) if number % 2 else slice(None, max(slice_, 0))] = 0
    if data.any():
        yield "half missing", Volume(data, head.volume.affine), template, True


def _no_head(like: Volume, rng: np.random.Generator, number: int) -> npt.NDArray[np.float32]:
    """Draw noise, a cylinder, an ellipsoid, rods, blobs, or a trunk."""
    shape = like.data.shape
    axes = [(np.arange(size) - (size - 1) / 2) * like.affine[i, i] for i, size in enumerate(shape)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    around = np.hypot(x, y)
    texture = gaussian_filter(rng.normal(size=shape), 5)
    texture /= texture.std()
    which = number % 6
    if which == 0:
        image = np.where(around < 100, rng.poisson(3, shape) * 1.0, 0.0)
    elif which == 1:
        image = 1.0 * ((around < rng.uniform(60, 110)) & (np.abs(z) < rng.uniform(60, 150)))
    elif which == 2:
        a, b, c = rng.uniform([55, 70, 60], [90, 110, 110])
        image = 1.0 * ((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 < 1)
    elif which == 3:
        image = 0.5 * (around < 90) + 5.0 * (np.hypot(np.abs(x) - 30, y) < 12)
    elif which == 4:
        spots = [(rng.normal(0, 35, 3), rng.uniform(10, 35)) for _ in range(6)]
        image = np.sum([np.exp(-((x - p) ** 2 + (y - q) ** 2 + (z - r) ** 2) / 2 / s**2) for (p, q, r), s in spots], 0)
    else:
        image = ((x / 170) ** 2 + (y / 120) ** 2 < 1) * np.maximum(1 + 0.5 * texture, 0)
    return np.asarray(gaussian_filter(image, 2) + 0.02 * image.max() * texture * (around < 180), np.float32)


def judged_results(studies: int, seed: int) -> list[Judged]:
    """Give the results of so many simulated studies, all groups in turn."""
    template = load_template()
    found: list[Judged] = []
    for index in range(studies):
        number, group = divmod(index, len(GROUPS))
        rng = np.random.default_rng([seed, index])
        found += results(posed_head(GROUPS[group], number, seed), template, rng, index)
    return [result for result in found if result.failed or result.kind == "real"]


def fit(found: Sequence[Judged]) -> dict[str, float]:
    """Fit logistic regression with a ridge and slopes that are not negative.

    Failures have as much weight as good results, and each kind of failure as much as any other.
    """
    rows = [failure_terms(result.quality) for result in found]
    names = list(rows[0])
    terms = np.array([[row[name] for name in names] for row in rows])
    failed = np.array([result.failed for result in found], float)
    kinds = Counter(result.kind for result in found if result.failed)
    weight = np.array([1 / (kinds[r.kind] * len(kinds)) if r.failed else 1 / (1 - failed).sum() for r in found])
    weight *= len(found) / 2
    mean, spread = terms[:, 1:].mean(axis=0), terms[:, 1:].std(axis=0)
    standard = np.c_[np.ones(len(rows)), (terms[:, 1:] - mean) / spread]

    def loss(slopes: _Array) -> float:
        odds = standard @ slopes
        return float((weight * (np.logaddexp(0, odds) - failed * odds)).sum() + RIDGE * (slopes[1:] ** 2).sum())

    bounds = [(None, None)] + [(0.0, None)] * (len(names) - 1)
    best = np.asarray(minimize(loss, np.zeros(len(names)), method="L-BFGS-B", bounds=bounds).x)
    slopes = best[1:] / spread
    return dict(zip(names, [best[0] - float(slopes @ mean), *slopes], strict=True))


def detection_rows(found: Sequence[Judged]) -> Iterator[tuple[str, str]]:
    """Say what share of failures is found, at 2 % false alarms and at the limit that `datbatch run` uses."""
    probability = np.array([failure_probability(result.quality) for result in found])
    failed = np.array([result.failed for result in found])
    limit = float(np.quantile(probability[~failed], 1 - FALSE_ALARMS))
    default = RegisterConfig().maximum_failure_probability
    yield (
        f"good results (n = {(~failed).sum()}) called failures at the default limit",
        _share(probability[~failed] > default),
    )
    yield f"failures (n = {failed.sum()}) found at 2 % false alarms", _share(probability[failed] > limit)
    yield "failures found at the default limit", _share(probability[failed] > default)
    classes: dict[str, list[bool]] = defaultdict(list)
    for result, high in zip(found, probability > limit, strict=True):
        if result.failed:
            classes[f"kind: {result.kind}"].append(bool(high))
            size = "without a head" if np.isinf(result.error_mm) else _size(result.error_mm)
            classes[f"brain error: {size}"].append(bool(high))
    for name, hits in sorted(classes.items()):
        yield f"found at 2 % false alarms, {name} (n = {len(hits)})", _share(np.array(hits))


def _size(error: float) -> str:
    for low, high in ((0, 5), (5, 8), (8, 15)):
        if error <= high:
            return f"{low} to {high} mm"
    return "over 15 mm"


def _share(hits: npt.NDArray[np.bool_]) -> str:
    return f"{hits.mean():.3f}" if hits.size else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=110)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--fit", action="store_true", help="print weights instead of shares")
    options = parser.parse_args()
    found = judged_results(options.studies, options.seed)
    if options.fit:
        for name, value in fit(found).items():
            print(f'    "{name}": {value:.3f},')
        return
    print("| failure detection | share |\n|---|---|")
    for name, value in detection_rows(found):
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()

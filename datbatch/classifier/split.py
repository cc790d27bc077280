"""The division of labelled studies into training, validation and test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datbatch.cohort.schema import LABELS
from datbatch.config import SplitConfig
from datbatch.errors import TrainingDataError

SETS = ("train", "validation", "test")
UNLABELLED = -1


def encode_labels(labels: Sequence[str] | npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    """Turn class names into the index of the network's output; -1 where a study has no label."""
    index = {name: position for position, name in enumerate(LABELS)}
    return np.array([index.get(str(name), UNLABELLED) for name in labels], dtype=np.int64)


def assign_split(
    sexes: Sequence[str] | npt.NDArray[np.str_],
    labels: Sequence[str] | npt.NDArray[np.str_],
    ages: Sequence[float] | npt.NDArray[np.float64],
    config: SplitConfig | None = None,
) -> npt.NDArray[np.str_]:
    """Divide studies as the paper did: within sex x label, best of many draws by mean age.

    Of `draws` random splits the one with the least difference of mean age between the three sets is kept:
    per subgroup the largest less the smallest mean age of the sets, summed over the subgroups (Nazari et
    al. 2022).

    Parameters
    ----------
    sexes, labels : sequence of str, one per study
        Sex (any values; an unknown sex is a subgroup of its own) and class name; other names count as
        unlabelled.
    ages : sequence of float, one per study
        Age in years; NaN where unknown (left out of the means).
    config : SplitConfig
        Fractions, number of draws and seed.

    Returns
    -------
    ndarray of str, shape (study,)
        "train", "validation", "test", or "" for a study without label.

    Raises
    ------
    TrainingDataError
        When a class is missing, or too rare for both training and validation set, or nothing is left to
        test on.
    """
    config = config if config is not None else SplitConfig()
    encoded = encode_labels(labels)
    years = np.asarray(ages, dtype=np.float64)
    sizes = _subgroup_sizes(np.asarray(sexes, dtype=np.str_), encoded, config)
    generator = np.random.default_rng(config.seed)
    best, least = None, np.inf
    for _ in range(max(1, config.draws)):
        drawn = np.full(encoded.size, "", dtype="<U10")
        for members, counts in sizes:
            drawn[generator.permutation(members)] = np.repeat(SETS, counts)
        difference = sum(_age_difference(years[members], drawn[members]) for members, _ in sizes)
        if best is None or difference < least:
            best, least = drawn, difference
    assert best is not None
    return best


def _subgroup_sizes(
    sexes: npt.NDArray[np.str_], labels: npt.NDArray[np.int64], config: SplitConfig
) -> list[tuple[npt.NDArray[np.intp], tuple[int, int, int]]]:
    """Give each subgroup's members and its share of the three sets."""
    class_sizes = [int((labels == index).sum()) for index in range(len(LABELS))]
    # Training and validation each need both classes (the orientation of relevance is learned on validation).
    if min(class_sizes) < 2 or sum(class_sizes) < 5:
        found = ", ".join(f"{size} {name}" for name, size in zip(LABELS, class_sizes, strict=True))
        raise TrainingDataError(f"the labelled studies ({found}) are too few to split into three sets")
    validation = _apportion(round(sum(class_sizes) * config.validation_fraction), class_sizes, least=1)
    free = [size - taken for size, taken in zip(class_sizes, validation, strict=True)]
    wanted = round(sum(class_sizes) * config.train_fraction)
    train = _apportion(min(wanted, sum(free) - 1), class_sizes, least=1, most=free)
    subgroups = []
    for label in range(len(LABELS)):
        groups = [np.flatnonzero((labels == label) & (sexes == sex)) for sex in np.unique(sexes[labels == label])]
        totals = [group.size for group in groups]
        trained = _apportion(train[label], totals)
        left = [total - taken for total, taken in zip(totals, trained, strict=True)]
        validated = _apportion(validation[label], totals, most=left)
        for group, first, second in zip(groups, trained, validated, strict=True):
            subgroups.append((group, (first, second, group.size - first - second)))
    return subgroups


def _apportion(seats: int, weights: Sequence[int], *, least: int = 0, most: Sequence[int] | None = None) -> list[int]:
    """Share out seats in proportion to weights by largest remainder; ties go to the larger weight.

    With the paper's totals this gives the paper's subgroup sizes.
    """
    most = most if most is not None else weights
    quotas = [seats * weight / sum(weights) for weight in weights]
    shares = [min(max(int(quota), least), cap) for quota, cap in zip(quotas, most, strict=True)]
    while sum(shares) < seats and any(share < cap for share, cap in zip(shares, most, strict=True)):
        open_groups = [i for i, (share, cap) in enumerate(zip(shares, most, strict=True)) if share < cap]
        # Rounded, so that equal remainders tie although they were computed from different weights.
        shares[max(open_groups, key=lambda i: (round(quotas[i] - shares[i], 9), weights[i]))] += 1
    return shares


def _age_difference(years: npt.NDArray[np.float64], sets: npt.NDArray[np.str_]) -> float:
    known = np.isfinite(years)
    means = [years[known & (sets == name)].mean() for name in SETS if (known & (sets == name)).any()]
    return float(max(means) - min(means)) if means else 0.0

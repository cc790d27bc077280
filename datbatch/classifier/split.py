"""The division of labelled studies into training, validation and test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datbatch.arrays import Bools, Floats, Indices, Ints, Texts
from datbatch.config import SplitConfig
from datbatch.errors import ConfigurationError, SplitLeakError, TrainingDataError
from datbatch.schema import LABELS, SPLITS, TEST

Words = Sequence[str] | Texts
UNLABELLED = -1
NAMED = 5
"""Leaks that an error names; the others are counted."""


def encode_labels(labels: Words) -> Ints:
    """Turn class names into the index of the network's output; -1 where a study has no label."""
    return np.array([LABELS.index(name) if name in LABELS else UNLABELLED for name in labels], dtype=np.int64)


def assign_split(
    sexes: Words,
    labels: Words,
    ages: Sequence[float] | Floats,
    config: SplitConfig | None = None,
    *,
    persons: Words | None = None,
    sites: Words | None = None,
) -> Texts:
    """Divide studies as the paper did: within sex x label, best of many draws by mean age.

    Of `draws` random splits the one with the least difference of mean age between the sets is kept: per subgroup
    the largest less the smallest mean age of the sets, summed over the subgroups (Nazari et al. 2022). All studies
    of a person go together; the person counts in the subgroup of the first of them. With `config.by` "site" or
    "folds" the test set is given, and the other studies are divided in this way into training and validation set.
    `check_leaks` tells whether a set leaks into another.

    Parameters
    ----------
    sexes, labels : sequence of str, one per study
        Sex (any values; an unknown sex is a subgroup of its own) and class name; other names count as unlabelled.
    ages : sequence of float, one per study
        Age in years; NaN where unknown (left out of the means).
    config : SplitConfig
        Kind of split, fractions, number of draws and seed.
    persons : sequence of str, optional
        Pseudonym of each study's person; empty where not known: such a study stands alone.
    sites : sequence of str, optional
        Site of each study; needed for a split by site.

    Returns
    -------
    ndarray of str, shape (study,)
        "train", "validation", "test", or "" for a study without label.

    Raises
    ------
    TrainingDataError
        When a class is missing, or too rare for both training and validation set, or nothing is left to test on.
    ConfigurationError
        When the fold, or a site to hold out, does not exist.
    """
    config = config if config is not None else SplitConfig()
    encoded = encode_labels(labels)
    labelled = np.flatnonzero(encoded >= 0)
    people = _persons(persons, labelled)
    _, first, unit = np.unique(people, return_index=True, return_inverse=True)
    # Persons in the order of their first study: without persons the draws are those of single studies.
    rank = np.argsort(np.argsort(first))
    unit, first = rank[unit], labelled[np.sort(first)]
    years = np.asarray(ages, dtype=np.float64)[labelled]
    sex, label = np.asarray(sexes, dtype=np.str_)[first], encoded[first]
    generator = np.random.default_rng(config.seed)
    tested, held_out = np.zeros(first.size, dtype=bool), np.zeros(labelled.size, dtype=bool)
    if config.by == "site":
        held_out = _held_out(sites, labelled, config)
        tested[unit[held_out]] = True
        # A person of two sites is drawn with the others, and found by `check_leaks`.
        tested[unit[~held_out]] = False
    elif config.by == "folds":
        tested = _folds(sex, label, config, generator) == config.fold - 1
    free = np.flatnonzero(~tested)
    sizes = _subgroup_sizes(sex[free], label[free], config)
    subgroups = [np.flatnonzero(np.isin(unit, free[members])) for members, _ in sizes]
    best, least = None, np.inf
    for _ in range(max(1, config.draws)):
        drawn = np.full(first.size, TEST, dtype="<U10")
        for members, counts in sizes:
            drawn[generator.permutation(free[members])] = np.repeat(SPLITS, counts)
        parts = np.where(held_out, TEST, drawn[unit])
        difference = sum(_age_difference(years[inside], parts[inside]) for inside in subgroups)
        if best is None or difference < least:
            best, least = parts, difference
    assert best is not None
    split = np.full(encoded.size, "", dtype="<U10")
    split[labelled] = best
    return split


def check_leaks(
    split: Words,
    studies: Sequence[str],
    *,
    persons: Words,
    pixels: Words,
) -> None:
    """Refuse a split in which the same person, or the same pixels, are in two sets.

    Parameters
    ----------
    split : sequence of str, one per study
        "train", "validation", "test" or "".
    studies : sequence of str
        Pseudonyms, to name the studies by.
    persons, pixels : sequence of str
        Pseudonym of the person and digest of the image; empty where not known.

    Raises
    ------
    SplitLeakError
        With the pseudonyms of the first such studies.
    """
    for what, keys in (("person", persons), ("pixels", pixels)):
        found: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            if key and split[index]:
                found.setdefault(str(key), []).append(index)
        leaks = [members for members in found.values() if len({str(split[i]) for i in members}) > 1]
        if leaks:
            named = "; ".join(", ".join(f"{studies[i]} ({split[i]})" for i in members) for members in leaks[:NAMED])
            more = f"; and {len(leaks) - NAMED} more" if len(leaks) > NAMED else ""
            raise SplitLeakError(f"the same {what} in two sets: {named}{more}")


def _persons(persons: Words | None, labelled: Indices) -> Texts:
    """Name the person of each labelled study; an unknown person gets a name of its own."""
    given = [""] * labelled.size if persons is None else [str(persons[i]) for i in labelled]
    # "#" sorts before every character that a pseudonym begins with; none begins with it.
    return np.array([name or f"#{position:09d}" for position, name in enumerate(given)], dtype=np.str_)


def _held_out(sites: Words | None, labelled: Indices, config: SplitConfig) -> Bools:
    given = np.array([""] * labelled.size if sites is None else [str(sites[i]) for i in labelled], dtype=np.str_)
    known = sorted(set(given.tolist()) - {""})
    unknown = sorted(set(config.held_out) - set(known))
    if not config.held_out or unknown:
        wrong = f"has no labelled study of {', '.join(unknown)}" if unknown else "is to be split by site"
        raise ConfigurationError(
            f"the cohort {wrong}: its sites are {', '.join(known) or 'not known'}",
            "Name the sites of the test set in split.held_out.",
        )
    return np.isin(given, config.held_out)


def _folds(sexes: Texts, labels: Ints, config: SplitConfig, generator: np.random.Generator) -> Ints:
    """Deal persons into folds of equal size, within sex x label; the same for every fold number."""
    if config.folds < 2 or not 1 <= config.fold <= config.folds:
        reason = f"there is no fold {config.fold} of {config.folds}"
        raise ConfigurationError(reason, "Count folds from 1, of two at least.")
    if labels.size < config.folds:
        raise TrainingDataError(f"{labels.size} labelled studies cannot be divided into {config.folds} folds")
    order = [
        generator.permutation(np.flatnonzero((labels == label) & (sexes == sex)))
        for label in range(len(LABELS))
        for sex in np.unique(sexes[labels == label])
    ]
    folds = np.empty(labels.size, dtype=np.int64)
    folds[np.concatenate(order)] = np.arange(labels.size) % config.folds
    return folds


def _subgroup_sizes(sexes: Texts, labels: Ints, config: SplitConfig) -> list[tuple[Indices, tuple[int, int, int]]]:
    """Give each subgroup's members and its share of the sets; none of the test set where that is given."""
    class_sizes = [int((labels == index).sum()) for index in range(len(LABELS))]
    tested = int(config.by == "strata")
    # Training and validation each need both classes (the orientation of relevance is learned on validation).
    if min(class_sizes) < 2 or sum(class_sizes) < 4 + tested:
        found = ", ".join(f"{size} {name}" for name, size in zip(LABELS, class_sizes, strict=True))
        into = "into three sets" if tested else "besides the test set"
        raise TrainingDataError(f"the labelled studies ({found}) are too few to split {into}")
    watched = config.validation_fraction
    if not tested:
        watched /= config.train_fraction + config.validation_fraction
    validation = _apportion(round(sum(class_sizes) * watched), class_sizes, least=1)
    free = [size - taken for size, taken in zip(class_sizes, validation, strict=True)]
    wanted = round(sum(class_sizes) * config.train_fraction) if tested else sum(free)
    train = _apportion(min(wanted, sum(free) - tested), class_sizes, least=1, most=free)
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


def _age_difference(years: Floats, sets: Texts) -> float:
    known = np.isfinite(years)
    means = [years[known & (sets == name)].mean() for name in SPLITS if (known & (sets == name)).any()]
    return float(max(means) - min(means)) if means else 0.0

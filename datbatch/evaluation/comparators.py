"""Conventional classifiers that learn on the same training set: a cut, and a classification and regression tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from datbatch.arrays import Bools, Floats
from datbatch.evaluation.discrimination import youden_cut
from datbatch.schema import LABELS

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier  # type: ignore[import-untyped]

FOLDS = 5
LEAST_LEAF = 3
"""Studies that a leaf of the tree holds at least."""
LEAST_CLASS = 5
"""Studies of each class that a tree is grown from at least."""


@dataclass(frozen=True)
class Rule:
    """A classifier and what it says of every study; arrays (study,)."""

    name: str
    """What it rests on."""
    words: str
    """The rule, readable."""
    positive: Bools
    """Its calls; meaningless where `known` is false."""
    score: Floats
    """Higher in positive studies."""
    known: Bools
    """Where the study has what the rule needs."""


def learn_cut(name: str, values: npt.ArrayLike, labels: npt.ArrayLike, train: Bools, *, digits: int = 2) -> Rule | None:
    """Learn the value below which a study is called positive: the best cut of the training studies (`youden_cut`).

    Values are lower in positive studies, NaN where not known; labels are 0, 1, or -1 where there is none; `train`
    says which studies to learn from, `digits` are the decimals of the cut in words. None where the training studies
    are of one class, or all values are equal.
    """
    measured, truth = np.asarray(values, dtype=np.float64), np.asarray(labels)
    known = np.isfinite(measured)
    learnt = train & known & (truth >= 0)
    cut = youden_cut(truth[learnt], -measured[learnt])
    if not np.isfinite(cut):
        return None
    return Rule(name, f"positive at or below {-cut:.{digits}f}", known & (-measured >= cut), -measured, known)


def learn_tree(features: Floats, names: Sequence[str], labels: npt.ArrayLike, train: Bools) -> Rule | None:
    """Grow a classification and regression tree and prune it by cross-validation on the training set.

    The cost of complexity is that of the smallest tree whose cross-validated error lies within one standard error
    of the least (Breiman et al. 1984, Classification and Regression Trees, section 3.4.3); five folds, stratified.

    `features` (study, feature) are regional figures with these names, NaN where not known, which the tree handles;
    labels are 0, 1, or -1 where there is none. None where a class has fewer than `LEAST_CLASS` training studies.
    """
    from sklearn.tree import export_text

    truth = np.asarray(labels)
    known = np.isfinite(features).any(axis=1)
    learnt = train & known & (truth >= 0)
    x, y = features[learnt], truth[learnt]
    if min((y == 0).sum(), (y == 1).sum()) < LEAST_CLASS:
        return None
    tree = _tree(_chosen_cost(x, y)).fit(x, y)
    score = np.full(truth.size, np.nan)
    score[known] = tree.predict_proba(features[known])[:, 1]
    words = export_text(tree, feature_names=list(names), class_names=list(LABELS), decimals=2)
    with np.errstate(invalid="ignore"):
        positive = np.asarray(score > 0.5)
    return Rule("Classification and regression tree", words, positive, score, np.asarray(known))


def _tree(cost: float) -> DecisionTreeClassifier:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(ccp_alpha=cost, min_samples_leaf=LEAST_LEAF, random_state=0)


def _chosen_cost(x: Floats, y: npt.NDArray[np.integer]) -> float:
    from sklearn.model_selection import StratifiedKFold  # type: ignore[import-untyped]

    path = np.unique(np.maximum(_tree(0.0).cost_complexity_pruning_path(x, y).ccp_alphas, 0.0))
    # Between neighbours of the path the tree is the same: their geometric mean stands for it in the other folds.
    costs = np.append(np.sqrt(path[:-1] * path[1:]), path[-1])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    wrong = np.empty((costs.size, y.size), dtype=bool)
    for learnt, held_out in folds.split(x, y):
        for index, cost in enumerate(costs):
            wrong[index, held_out] = _tree(float(cost)).fit(x[learnt], y[learnt]).predict(x[held_out]) != y[held_out]
    error = wrong.mean(axis=1)
    least = float(error.min())
    tolerated = least + np.sqrt(least * (1 - least) / y.size)
    return float(costs[np.flatnonzero(error <= tolerated + 1e-12)[-1]])

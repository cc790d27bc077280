"""One model's results: outcomes of the test set, figures of merit, comparators, the paper's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from datbatch import schema
from datbatch.cohort.attributes import stored_card
from datbatch.cohort.views.query import group_of
from datbatch.evaluation.agreement import cohen_kappa
from datbatch.evaluation.confusion import Metrics, classification_metrics
from datbatch.evaluation.discrimination import youden_cut
from datbatch.evaluation.estimates import Estimate, Proportion, wilson
from datbatch.report.cohort.tables import PUTAMEN_SBR
from datbatch.report.parts.wording import scientific

Floats = npt.NDArray[np.float64]
OUTCOME_NAMES = {"TN": "true negative", "TP": "true positive", "FN": "false negative", "FP": "false positive"}
OUTCOMES = tuple(OUTCOME_NAMES)
NEAR_MM = 10.0
"""How far from the striatum a voxel still counts as next to it: about the resolution of DAT-SPECT."""

_TRUTH = [0] * 150 + [1] * 138
PAPER_NETWORK = classification_metrics(_TRUTH, [0] * 148 + [1] * 2 + [0] * 10 + [1] * 128)
"""Nazari et al. 2022: TN 148, FP 2, FN 10, TP 128."""
PAPER_RELEVANCE = classification_metrics(_TRUTH, [0] * 144 + [1] * 6 + [0] * 3 + [1] * 135)
"""The only counts that give the paper's printed percentages of the putamen relevance cut at zero."""


@dataclass(frozen=True)
class Model:
    """One model's results for every study, in the store's order."""

    name: str
    card: dict[str, Any]
    attributes: dict[str, Any]
    """Of the model's group."""
    predicted: npt.NDArray[np.str_]
    """negative, positive, or empty where the study was not explained."""
    probability: Floats
    """Of the positive class, as `log_odds`."""
    log_odds: Floats
    inconsistent: npt.NDArray[np.bool_]
    """Whether the map is typical of the class that was not predicted."""
    putamen_relevance: Floats
    """Oriented mean relevance of the hottest voxels of the ipsilateral putamen; NaN where not explained."""
    sign: float
    """Orientation of relevance, +1 or -1."""
    threshold: float
    """Cut of the oriented putamen relevance, learned outside the test set; NaN for none."""


def read_model(cohort: xr.DataTree, name: str) -> Model:
    """Read a model's tables; the relevance volumes are not touched."""
    group = group_of(cohort, schema.relevance_group(name))
    card = stored_card(group.attrs)
    orientation = card.get("orientation") or {}
    sign, threshold = float(orientation.get("sign", 1.0)), orientation.get("threshold")
    place = schema.REGIONS.index(schema.PUTAMEN), schema.STATISTICS.index(schema.HOTTEST_MEAN)
    return Model(
        name=name,
        card=card,
        attributes=dict(group.attrs),
        predicted=np.array([str(one) if one in schema.LABELS else "" for one in group["predicted"].values], dtype=str),
        probability=np.asarray(group["probability"].values, dtype=np.float64),
        log_odds=np.asarray(group["log_odds"].values, dtype=np.float64),
        inconsistent=np.asarray(group["inconsistent"].values, dtype=bool),
        putamen_relevance=sign * np.asarray(group["regional"].values[:, *place], dtype=np.float64),
        sign=sign,
        threshold=float("nan") if threshold is None else float(threshold),
    )


def outcomes(studies: pd.DataFrame, model: Model) -> list[str]:
    """Give TN, TP, FN or FP for each test study that has a label and a prediction, else empty text."""
    tested = (studies["status"] == schema.DONE) & (studies["split"] == schema.TEST)
    tested &= studies["label"].isin(schema.LABELS)
    return [
        ("T" if predicted == label else "F") + ("P" if predicted == schema.POSITIVE else "N")
        if test and predicted
        else ""
        for test, label, predicted in zip(tested, studies["label"], model.predicted, strict=True)
    ]


@dataclass(frozen=True)
class Performance:
    """One row of the table of classifiers."""

    name: str
    metrics: Metrics
    published: bool = False
    """Whether the figures are the paper's, not this run's."""


def performances(studies: pd.DataFrame, model: Model) -> tuple[Performance, ...]:
    """Compare the network with the cut putamen relevance and the cut binding ratio, on the test set.

    This run's classifiers are followed by the paper's figures where it has them.
    """
    test = np.array([bool(outcome) for outcome in outcomes(studies, model)], dtype=bool)
    labels = np.asarray(studies["label"] == schema.POSITIVE)[test]

    def cut(name: str, values: Floats, positive: npt.NDArray[np.bool_]) -> Performance:
        known = np.isfinite(values)
        return Performance(name, classification_metrics(labels[known], positive[known]))

    relevance = model.putamen_relevance[test]
    rows = [
        Performance("Network", classification_metrics(labels, model.predicted[test] == schema.POSITIVE)),
        Performance("Network, Nazari et al. 2022", PAPER_NETWORK, published=True),
        cut("Putamen relevance, cut at zero", relevance, relevance > 0),
    ]
    if np.isfinite(model.threshold):
        name = f"Putamen relevance, learned cut ({scientific(model.threshold)})"
        rows.append(cut(name, relevance, relevance > model.threshold))
    rows.append(Performance("Putamen relevance, cut at zero, Nazari et al. 2022", PAPER_RELEVANCE, published=True))
    ratio = studies[PUTAMEN_SBR].to_numpy(dtype=float)
    threshold = learned_ratio_cut(studies)
    if np.isfinite(threshold):
        name = f"Conventional: putamen SBR below {threshold:.2f}"
        rows.append(cut(name, ratio[test], ratio[test] < threshold))
    return tuple(rows)


def learned_ratio_cut(studies: pd.DataFrame) -> float:
    """Give the binding ratio below which a study is best called positive, learned on the training set alone.

    Greatest mean of sensitivity and specificity; of equally good cuts the middle one. NaN without both classes.
    """
    train = studies[(studies["status"] == schema.DONE) & (studies["split"] == schema.TRAINING)]
    ratio = train[PUTAMEN_SBR].to_numpy(dtype=float)
    positive = (train["label"] == schema.POSITIVE).to_numpy()
    usable = np.isfinite(ratio) & train["label"].isin(schema.LABELS).to_numpy()
    return -youden_cut(positive[usable], -ratio[usable])


def peaks_near_striatum(distance_mm: Floats, tested: int) -> tuple[Proportion, Proportion]:
    """Give the shares of test studies whose most relevant voxel lies in the striatum, and in or next to it.

    A map without a most relevant voxel (NaN) counts as a miss; `tested` is the number of maps that were read.
    """
    with np.errstate(invalid="ignore"):
        inside, near = int((distance_mm == 0).sum()), int((distance_mm <= NEAR_MM).sum())
    return wilson(inside, tested), wilson(near, tested)


@dataclass(frozen=True)
class Agreement:
    """How far the two readers agree."""

    agreeing: Proportion
    kappa: Estimate


def reader_agreement(studies: pd.DataFrame) -> Agreement | None:
    """Compare the intra-reader consensus of both readers; None when no study was read by both.

    A reader's consensus is what both sessions agree on, else the third session (Nazari et al. 2022).
    """
    reads = studies[list(schema.READS)].to_numpy()
    first, second = (np.where(one[:, 0] == one[:, 1], one[:, 0], one[:, 2]) for one in (reads[:, :3], reads[:, 3:6]))
    both = np.isin(first, schema.LABELS) & np.isin(second, schema.LABELS)
    if not both.any():
        return None
    first, second = ((one[both] == schema.POSITIVE).astype(np.int64) for one in (first, second))
    return Agreement(wilson(int((first == second).sum()), len(first)), cohen_kappa(first, second))


def outcome_words(outcomes: Sequence[str]) -> str:
    """Say how many studies have which outcome."""
    return ", ".join(f"{list(outcomes).count(name)} {OUTCOME_NAMES[name]}" for name in OUTCOMES)

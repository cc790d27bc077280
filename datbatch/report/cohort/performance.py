"""Sections on how well a model classifies and how it was trained, with their charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from datbatch import schema
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.report.cohort.classification import PAPER_NETWORK, Performance, performances
from datbatch.report.cohort.contents import Contents, Explained
from datbatch.report.cohort.tables import PUTAMEN_SBR
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.figures import TEXT
from datbatch.report.parts.hypertext import Child, Html, element, stacked
from datbatch.report.parts.wording import SHARES, number, stacked_share

FEW = 30
"""Below so many studies of a class a figure of merit says little; the report says so."""


def _confusion_table(row: Performance, exhibits: Exhibits) -> Html:
    found, paper = row.metrics.confusion, PAPER_NETWORK.confusion

    def cells(name: str) -> Html:
        return stacked(element("b", getattr(found, name)), f"paper: {getattr(paper, name)}")

    return exhibits.table(
        "confusion_matrix",
        "Confusion matrix of the network on the test set, with the paper's counts.",
        ("Visual label", "Network: negative", "Network: positive", "All"),
        (
            ("negative", cells("true_negative"), cells("false_positive"), found.true_negative + found.false_positive),
            ("positive", cells("false_negative"), cells("true_positive"), found.false_negative + found.true_positive),
        ),
    )


def _performance_table(rows: tuple[Performance, ...], exhibits: Exhibits) -> Html:
    written: list[tuple[Child, ...]] = []
    for row in rows:
        counts = row.metrics.confusion
        name = element("i", row.name) if row.published else row.name
        matrix = (counts.true_negative, counts.true_positive, counts.false_negative, counts.false_positive)
        written.append((name, *matrix, *(stacked_share(getattr(row.metrics, share)) for share in SHARES)))
    return exhibits.table(
        "classifiers",
        "Classifiers on the test set: percent, 95 % confidence interval (Wilson), counts. In italics the figures of "
        "the paper (section Results), intervals computed from its counts. The learned cuts come from the validation "
        "set (relevance) and the training set (binding ratio), never from the test set.",
        ("Classifier", "TN", "TP", "FN", "FP", "Accuracy", "Sensitivity", "Specificity", "PPV", "NPV"),
        written,
    )


def _caution(negative: int, positive: int) -> Iterator[Html]:
    if min(negative, positive) >= FEW:
        return
    empty = [name for name, n in ((schema.NEGATIVE, negative), (schema.POSITIVE, positive)) if not n]
    words = (
        f"The test set has {negative} negative and {positive} positive studies. "
        + (f"Without any {' and any '.join(empty)} study, figures of that class do not exist. " if empty else "")
        + "With so few studies the intervals are wide: the figures do not rank classifiers."
    )
    yield element("p", element("strong", "Small test set. "), words, class_="notice")


def _discrimination(contents: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Draw ROC curves and give their areas, where both classes occur."""
    from sklearn.metrics import roc_curve  # type: ignore[import-untyped]

    test, labels = explained.tested, (contents.studies["label"] == schema.POSITIVE).to_numpy(dtype=np.int64)
    ratio = -contents.studies[PUTAMEN_SBR].to_numpy(dtype=float)
    curves, words, points = [], [], []
    for name, scores in (
        ("network", explained.model.log_odds),
        ("putamen relevance", explained.model.putamen_relevance),
        ("putamen SBR", ratio),
    ):
        usable = test & np.isfinite(scores)
        if len(set(labels[usable])) < 2:
            continue
        false_alarms, hits, _ = roc_curve(labels[usable], scores[usable], drop_intermediate=False)
        area = area_under_curve(labels[usable], scores[usable])
        points.append(pd.DataFrame({"classifier": name, "1 - specificity": false_alarms, "sensitivity": hits}))
        overlap = np.isfinite(area.standard_error) and area.standard_error > 0
        limits = f"95 % CI {area.low:.3f} to {area.high:.3f}" if overlap else "no interval"
        curves.append((f"{name}: AUC {area.value:.3f} ({limits})", false_alarms, hits))
        words.append(f"{name} {area.value:.3f} ({limits})")
    if curves:
        summary = "; ".join(words)
        numbers = f"{int((test & (labels == 0)).sum())} negative, {int((test & (labels == 1)).sum())} positive studies"
        yield exhibits.figure(
            "roc_curves",
            roc_chart(curves),
            f"ROC curves on the test set. Areas: {summary}.",
            f"ROC curves on the test set ({numbers}). Area under the curve (AUC), with DeLong's interval where the "
            f"classes overlap: {summary}.",
            data=pd.concat(points),
        )


def _turned(contents: Contents, explained: Explained) -> Iterator[Html]:
    """Warn when the sign of relevance, fixed without the test set, is the wrong one for the test set."""
    test = explained.tested & np.isfinite(explained.model.putamen_relevance)
    labels = (contents.studies["label"] == schema.POSITIVE).to_numpy(dtype=np.int64)[test]
    if len(set(labels)) < 2:
        return
    area = area_under_curve(labels, explained.model.putamen_relevance[test]).value
    if area < 0.5:
        words = (
            "The sign of relevance was fixed without the test set, but relevance of the ipsilateral putamen is lower, "
            f"not higher, in positive test studies (AUC {area:.3f}). Colours of maps and their cut have the wrong sign "
            "here; a larger validation set is needed to learn it."
        )
        yield element("p", element("strong", "Sign of relevance in doubt. "), words, class_="notice")


def classification_section(contents: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show confusion matrix, figures of merit and ROC curves, beside the paper's."""
    rows = performances(contents.studies, explained.model)
    counts = rows[0].metrics.confusion
    negative = counts.true_negative + counts.false_positive
    positive = counts.false_negative + counts.true_positive
    if not negative + positive:
        yield element("p", "No study of the test set has both a label and a prediction: its accuracy is not known.")
    yield from _caution(negative, positive)
    yield _confusion_table(rows[0], exhibits)
    yield _performance_table(rows, exhibits)
    if not explained.model.card.get("orientation"):
        yield element("p", "The model's card has no orientation: the sign of relevance is shown as computed.")
    yield from _turned(contents, explained)
    yield from _discrimination(contents, explained, exhibits)


def training_section(_: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show the training curves."""
    history: list[dict[str, Any]] = [dict(entry) for entry in explained.model.card.get("history") or ()]
    if not history:
        yield element("p", "The model's card has no training history.")
        return
    last = history[-1]

    def told(name: str, factor: float = 1.0, digits: int = 3) -> str:
        value = last.get(name)
        return "–" if value is None else number(factor * float(value), digits)

    words = (
        f"After {len(history)} epochs: training loss {told('train_loss')}, validation loss "
        f"{told('validation_loss')}, validation accuracy {told('validation_accuracy', 100, 1)} %."
    )
    yield exhibits.figure(
        "training",
        training_curves(history),
        f"Training curves. {words}",
        f"Loss and validation accuracy over the epochs. {words}",
        data=pd.DataFrame(history),
    )


def training_curves(history: Sequence[dict[str, Any]]) -> Figure:
    """Draw loss of both sets and accuracy of the validation set over the epochs; a missing value leaves a gap."""

    def series(name: str) -> npt.NDArray[np.float64]:
        found = [entry.get(name) for entry in history]
        return np.array([np.nan if value is None else float(value) for value in found])

    epochs = np.array([float(entry.get("epoch", position + 1)) for position, entry in enumerate(history)])
    with rc_context(TEXT):
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        losses, accuracy = figure.subplots(1, 2)
        losses.plot(epochs, series("train_loss"), color="#0072B2", label="training")
        losses.plot(epochs, series("validation_loss"), color="#D55E00", linestyle="--", label="validation")
        losses.set_ylabel("Cross-entropy loss")
        losses.set_ylim(bottom=0)
        losses.legend()
        accuracy.plot(epochs, 100 * series("validation_accuracy"), color="#D55E00", linestyle="--")
        accuracy.set(ylabel="Validation accuracy (%)", ylim=(0, 102))
        for axes in (losses, accuracy):
            axes.set_xlabel("Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def roc_chart(curves: Sequence[tuple[str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]) -> Figure:
    """Draw at most three ROC curves: name, false positive rates, true positive rates."""
    styles = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."))
    with rc_context(TEXT):
        figure = Figure(figsize=(4.6, 5.0), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
        for (name, false_alarms, hits), (colour, line) in zip(curves, styles, strict=False):
            axes.plot(false_alarms, hits, color=colour, linestyle=line, linewidth=1.8, label=name, clip_on=False)
        # Curves along the frame stay visible.
        axes.set(xlabel="1 − specificity", ylabel="Sensitivity", aspect="equal", xlim=(-0.02, 1.0), ylim=(0, 1.02))
        # Below the axes: in a perfect or a hopeless plot every corner is taken.
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9)
        return figure

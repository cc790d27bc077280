"""The section on whether a model's relevance maps can be trusted, with its charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datbatch import schema
from datbatch.cohort.attributes import json_attribute
from datbatch.evaluation.trust import FEW, sentences
from datbatch.report.cohort.contents import Contents, Explained
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.figures import GUIDE, TEXT
from datbatch.report.parts.hypertext import Html, element, marked

ORDERS = {
    "relevance": ("#D55E00", "-", "by relevance"),
    "magnitude": ("#0072B2", "--", "by magnitude"),
    "random": ("0.35", ":", "random order"),
}
BARS = (("absolute", "#0072B2", "", "magnitudes"), ("signed", "#E69F00", "////", "signed"))
LOSSES = (("biases", "#CC79A7", "////", "biases"), ("stabilisers", "#56B4E9", "....", "stabilisers"))
SIDES = (-0.5, 0.5)
"""Where the two bars of a layer stand, in widths of one from its middle."""
SHORT = {"fully connected": "FC", "convolution": "Conv"}
Floats = npt.NDArray[np.float64]


def trust_section(_: Contents, explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show what `datbatch trust` found, or say that it was not called for these maps."""
    attributes = explained.model.attributes
    tried = json_attribute(attributes, schema.TRUST)
    if not tried:
        yield element("p", marked("The maps of this model were not tested: call `datbatch trust`."))
        return
    if tried["explain_digest"] != attributes.get("digest") or attributes.get("stale"):
        yield element("p", marked("The maps have changed since they were tested: call `datbatch trust`."))
        return
    summary, parameters = tried["summary"], tried["parameters"]
    counts = summary["studies"]
    few = f" Fewer than {FEW} studies: the intervals are wide." if sum(counts.values()) < FEW else ""
    yield element(
        "p",
        f"Tried on {sum(counts.values())} studies of the test set ("
        + ", ".join(f"{count} {label}" for label, count in counts.items())
        + f"), chosen at random.{few} No single figure proves that maps are right; each can show that they are wrong.",
    )
    yield exhibits.table(
        "trust",
        "Whether the relevance maps can be trusted.",
        ("Figure", "Found", "What it means"),
        sentences(summary),
        text_columns=3,
    )
    yield exhibits.figure(
        "trust",
        trust_plate(summary),
        "Left: share of relevance left below each layer. Middle: similarity of maps after layers are redrawn. Right: "
        "log odds of the decision while the brain is replaced.",
        "a: Relevance left below each layer, from the outputs to the image, and what biases and stabilisers absorbed "
        "there, in % of the relevance at the outputs. b: Rank correlation with the true map inside the brain after all "
        "layers down to the named one were redrawn as training starts (cascading randomisation, Adebayo et al. 2018), "
        "with 95 % intervals; the flat rule of the first convolutions does not look at weights, and alpha-beta rules "
        "are known to forget little (Sixt et al. 2020). c: Mean log odds of the predicted class while cubes of "
        f"{parameters['block_mm']:g} mm are replaced by the mean image of the training set, most relevant first (Samek "
        "et al. 2017); relevance is oriented towards the predicted class. Mass and rank in the table: Arras et al. "
        f"2022; noise: standard deviation {100 * parameters['noise_share']:g} % at the reference level. "
        f"n = {sum(counts.values())} studies.",
        data={
            "conservation": pd.json_normalize(summary["conservation"]["layers"]),
            "randomisation": pd.json_normalize(summary["randomisation"]),
            "flipping": pd.DataFrame({"share": summary["flipping"]["shares"], **summary["flipping"]["curves"]}),
        },
    )


def trust_plate(summary: Mapping[str, Any]) -> Figure:
    """Draw what each layer keeps, how maps change when layers are redrawn, and the flipping curves."""
    with rc_context(TEXT):
        figure = Figure(figsize=(10.4, 3.7), layout="constrained")
        kept, randomised, flipped = figure.subplots(1, 3)
        draw_conservation(kept, summary["conservation"]["layers"])
        draw_randomisation(randomised, summary["randomisation"])
        draw_flipping(flipped, summary["flipping"])
        return figure


def draw_conservation(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    """Draw the share of the start left below each layer, and what the layer absorbed."""
    kept = 100 * _numbers([one["kept"] for one in layers], "value")
    axes.plot(np.arange(len(layers)), kept, color="black", marker="o", markersize=4, label="left below the layer")
    for side, (name, *look, label) in zip(SIDES, LOSSES, strict=True):
        absorbed = 100 * _numbers([one[name] for one in layers], "value")
        _bars(axes, absorbed, 0.36 * side, 0.36, look, f"absorbed: {label}")
    axes.axhline(100, color=GUIDE, linewidth=0.8, linestyle="--")
    axes.set_ylabel("Relevance (% of that at the outputs)")
    _finish(axes, layers, "a  Conservation")


def draw_randomisation(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    """Draw the similarity to the true map after each layer is redrawn, with 95 % intervals."""
    for side, (name, *look, label) in zip(SIDES, BARS, strict=True):
        values = [one[name] for one in layers]
        _bars(axes, _numbers(values, "value"), 0.38 * side, 0.38, look, label)
        for place, (low, high) in enumerate(zip(_numbers(values, "low"), _numbers(values, "high"), strict=True)):
            axes.plot([place + 0.38 * side] * 2, [max(low, -1), min(high, 1)], color="black", linewidth=1)
    axes.set_ylim(top=1.05)
    axes.set_ylabel("Rank correlation with the true map")
    _finish(axes, layers, "b  Randomised down to this layer")


def draw_flipping(axes: Axes, flipping: Mapping[str, Any]) -> None:
    """Draw the mean log odds of the predicted class against the share of the brain that was replaced."""
    shares = 100 * np.asarray(flipping["shares"])
    for name, (colour, line, label) in ORDERS.items():
        # The root spreads out the start, where relevance is spent.
        axes.plot(np.sqrt(shares), flipping["curves"][name], color=colour, linestyle=line, linewidth=1.8, label=label)
    ticks = (0, 1, 5, 10, 25, 50, 100)
    axes.set_xticks(np.sqrt(ticks), [str(tick) for tick in ticks])
    axes.set_xlabel("Brain replaced (%)")
    axes.set_ylabel("Log odds of the decision")
    _title(axes, "c  Region flipping")


def _bars(axes: Axes, values: Floats, shift: float, width: float, look: Sequence[str], label: str) -> None:
    axes.bar(
        np.arange(len(values)) + shift, values, width=width, color=look[0], hatch=look[1], edgecolor="black",
        linewidth=0.5, label=label,
    )  # fmt: skip


def _finish(axes: Axes, layers: Sequence[Mapping[str, Any]], title: str) -> None:
    axes.axhline(0, color=GUIDE, linewidth=0.8)
    axes.set_xticks(range(len(layers)), [_short(one["layer"]) for one in layers], rotation=45)
    _title(axes, title)


def _title(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", pad=30)
    axes.legend(fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderpad=0)


def _short(layer: str) -> str:
    kind, _, number = layer.rpartition(" ")
    return f"{SHORT.get(kind, kind)} {number}"


def _numbers(estimates: Sequence[Mapping[str, Any]], name: str) -> Floats:
    return np.array([np.nan if one[name] is None else one[name] for one in estimates], dtype=np.float64)

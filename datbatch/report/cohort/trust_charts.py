"""Charts on whether relevance maps can be trusted: conservation, randomisation, flipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datbatch.report.cohort.charts import GUIDE
from datbatch.report.parts.figures import TEXT

ORDERS = {
    "relevance": ("#D55E00", "-", "by relevance"),
    "magnitude": ("#0072B2", "--", "by magnitude"),
    "random": ("0.35", ":", "random order"),
}
BARS = (("absolute", "#0072B2", "", "magnitudes"), ("signed", "#E69F00", "////", "signed"))
LOSSES = (("biases", "#CC79A7", "////", "biases"), ("stabilisers", "#56B4E9", "....", "stabilisers"))
SHORT = {"fully connected": "FC", "convolution": "Conv"}


def trust_plate(summary: Mapping[str, Any]) -> Figure:
    """Draw what each layer keeps, how maps change when layers are redrawn, and the flipping curves.

    Parameters
    ----------
    summary : mapping
        As `trust_summary.summarise` gives it.
    """
    with rc_context(TEXT):
        figure = Figure(figsize=(10.4, 3.7), layout="constrained")
        kept, randomised, flipped = figure.subplots(1, 3)
        draw_conservation(kept, summary["conservation"]["layers"])
        draw_randomisation(randomised, summary["randomisation"])
        draw_flipping(flipped, summary["flipping"])
        return figure


def draw_conservation(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    """Draw the share of the start left below each layer, and what the layer absorbed."""
    places = np.arange(len(layers))
    axes.plot(places, _values(layers, "kept"), color="black", marker="o", markersize=4, label="left below the layer")
    for number, (name, colour, hatch, label) in enumerate(LOSSES):
        axes.bar(
            places + 0.36 * (number - 0.5), _values(layers, name), width=0.36,
            color=colour, hatch=hatch, edgecolor="black", linewidth=0.5, label=f"absorbed: {label}",
        )  # fmt: skip
    axes.axhline(0, color=GUIDE, linewidth=0.8)
    axes.axhline(100, color=GUIDE, linewidth=0.8, linestyle="--")
    axes.set_ylabel("Relevance (% of that at the outputs)")
    _finish(axes, layers, "a  Conservation")


def draw_randomisation(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    """Draw the similarity to the true map after each layer is redrawn, with 95 % intervals."""
    places = np.arange(len(layers))
    for number, (name, colour, hatch, label) in enumerate(BARS):
        values = [one[name] for one in layers]
        middle = _numbers(values, "value")
        axes.bar(
            places + 0.38 * (number - 0.5), middle, width=0.38,
            color=colour, hatch=hatch, edgecolor="black", linewidth=0.5, label=label,
        )  # fmt: skip
        for place, low, high in zip(places, _numbers(values, "low"), _numbers(values, "high"), strict=True):
            axes.plot([place + 0.38 * (number - 0.5)] * 2, [max(low, -1), min(high, 1)], color="black", linewidth=1)
    axes.axhline(0, color=GUIDE, linewidth=0.8)
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
    axes.set_title("c  Region flipping", loc="left", pad=30)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderpad=0)


def _finish(axes: Axes, layers: Sequence[Mapping[str, Any]], title: str) -> None:
    axes.set_xticks(range(len(layers)), [_short(one["layer"]) for one in layers], rotation=45)
    axes.set_title(title, loc="left", pad=30)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderpad=0)


def _short(layer: str) -> str:
    kind, _, number = layer.rpartition(" ")
    return f"{SHORT.get(kind, kind)} {number}"


def _values(layers: Sequence[Mapping[str, Any]], name: str) -> npt.NDArray[np.float64]:
    return 100 * _numbers([one[name] for one in layers], "value")


def _numbers(estimates: Sequence[Mapping[str, Any]], name: str) -> npt.NDArray[np.float64]:
    return np.array([np.nan if one[name] is None else one[name] for one in estimates], dtype=np.float64)

"""The section on whether a model's relevance maps can be trusted."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from datbatch.cohort.attributes import json_attribute
from datbatch.evaluation.trust import FEW, sentences
from datbatch.report.cohort.contents import Explained
from datbatch.report.cohort.trust_charts import trust_plate
from datbatch.report.parts.exhibits import Exhibits
from datbatch.report.parts.hypertext import Html, element


def trust_section(explained: Explained, exhibits: Exhibits) -> Iterator[Html]:
    """Show what `datbatch trust` found, or say that it was not called for these maps."""
    attributes = explained.model.attributes
    tried = json_attribute(attributes, "trust")
    if not tried:
        yield element("p", "The maps of this model have not been tried: ", element("code", "datbatch trust"), " does.")
        return
    if tried["explain_digest"] != attributes.get("digest") or attributes.get("stale"):
        yield element("p", "The maps have changed since they were tried: call ", element("code", "datbatch trust"), ".")
        return
    summary, parameters = tried["summary"], tried["parameters"]
    counts = summary["studies"]
    few = f" Fewer than {FEW} studies: the intervals are wide." if sum(counts.values()) < FEW else ""
    yield element(
        "p",
        f"Tried on {sum(counts.values())} studies of the test set ("
        + ", ".join(f"{count} {label}" for label, count in counts.items())
        + f"), chosen by chance.{few} No single figure proves a map right; each can show one to be wrong.",
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

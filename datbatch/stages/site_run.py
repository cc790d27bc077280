"""Leave one site out: how a model of the same parameters does at a site that it has never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from datbatch.cohort.cohort import Cohort
from datbatch.config import Config
from datbatch.errors import TrainingDataError
from datbatch.evaluation.cases import Cases
from datbatch.evaluation.confusion import classification_metrics
from datbatch.evaluation.discrimination import area_under_curve
from datbatch.evaluation.estimates import as_json
from datbatch.stages.train import train_model


def leave_one_site_out(
    cohort: Cohort,
    model: str,
    cases: Cases,
    odds_of: Callable[..., Any],
    *,
    cluster: str | None,
    workers: int | None,
    quiet: bool,
) -> dict[str, Any]:
    """Train a model for each site without its studies, with the parameters of a given one, and evaluate it there.

    The models stand beside the others, marked as parts of the given one: called again, what is trained is found.

    Parameters
    ----------
    cohort : Cohort
        The cohort.
    model : str
        Whose parameters are used.
    cases : Cases
        Its studies.
    odds_of : callable
        Gives the log odds of a model, by name, for a mask of studies.
    cluster, workers, quiet
        As for `run_imaging`.

    Returns
    -------
    dict
        JSON: figures by site, those of all sites together, and sites that could not be left out, with the reason.
    """
    config, store = Config.from_dict(cohort.card(model).config, recorded=True), cohort.store
    split = store.read_table("split")
    labelled = cases.label >= 0
    rows, missing = [], []
    truth, calls = [], []
    try:
        for site in sorted(set(cases.site[labelled].tolist()) - {""}):
            held_out = replace(config, split=replace(config.split, by="site", held_out=[site]))
            inside = labelled & (cases.site == site)
            try:
                trained = train_model(store.path, held_out, cluster=cluster, workers=workers, quiet=quiet)
            except TrainingDataError as error:
                missing.append({"site": site, "reason": error.reason})
                continue
            if trained.model != model:
                store.set_attributes({"part_of": model}, f"relevance/{trained.model}")
            found = odds_of(trained.model, inside, f"infer {site}")[0.0]
            of_site, odds = cases.label[list(found)], np.asarray(list(found.values()))
            truth.append(of_site)
            calls.append(odds > 0)
            figures = {"metrics": classification_metrics(of_site, odds > 0), "area": area_under_curve(of_site, odds)}
            rows.append({"site": site, "model": trained.model, **figures})
    finally:
        # Training writes its own split into the root's table.
        store.write_table({"split": split})
        store.consolidate()
    together = classification_metrics(np.concatenate(truth), np.concatenate(calls)) if truth else None
    found_all: dict[str, Any] = as_json({"rows": rows, "together": together, "missing": missing})
    return found_all

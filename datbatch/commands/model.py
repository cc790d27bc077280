"""`datbatch train` and `explain`: a model, and its decision and relevance for every study."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from datbatch import schema
from datbatch.commands.command import Answer, cluster_options, cohort_command, config_of, model_option, where


def add(parsers: Any) -> None:
    """Describe the commands."""
    made = cohort_command(parsers, train, "split the cohort and train the network")
    made.add_argument("--preset", choices=("paper", "compact"), help="network (default: of the parameters)")
    made.add_argument("--epochs", type=int, help="passes over the training set")
    made.add_argument("--seed", type=int, help="seed of the initial weights: others make repeats of a model")
    cluster_options(made, config=True)

    made = cohort_command(parsers, explain, "compute prediction and relevance for every study")
    model_option(made, "a trained model")
    cluster_options(made, config=True)


def train(options: argparse.Namespace) -> Answer:
    """Train a model."""
    from datbatch.stages.train import train_model

    config = config_of(options, schema.TRAIN, ("preset", "epochs", "seed"))
    trained = train_model(options.cohort, config, **where(options))
    verb = "trained" if trained.trained else "is there already, trained on the same data with the same parameters"
    text = f"{trained.model} {verb}\n{trained.folder}\nNext: datbatch explain {options.cohort}"
    return Answer(text, {"model": trained.model, "folder": str(trained.folder), "trained": trained.trained})


def explain(options: argparse.Namespace) -> Answer:
    """Infer and explain."""
    from datbatch.stages.explain import explain_cohort

    explained = explain_cohort(options.cohort, config_of(options), model=options.model, **where(options))
    text = (
        f"{explained.done} studies explained by {explained.model}, {explained.processed} of them now\n"
        f"Next: datbatch report {options.cohort}"
    )
    return Answer(text, asdict(explained))

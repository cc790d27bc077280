"""`datbatch template` and `atlas`: what studies are normalised to, and the regions in it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datbatch.commands.command import Answer, add_command, cluster_options, location, path, positive, where
from datbatch.commands.run import run_answer
from datbatch.errors import ConfigurationError

if TYPE_CHECKING:
    from datbatch.imaging.template import Round

TEMPLATE_STUDIES, SIMULATED_TEMPLATE_STUDIES = 64, 24


def add(parsers: Any) -> None:
    """Describe the commands."""
    words = "build a template from a cohort's normal studies, and normalise with it"
    made = add_command(parsers, "template", template, words, "datbatch template cohort.zarr")
    made.add_argument("cohort", type=location, nargs="?", help="store, made by `run`")
    made.add_argument("--simulated", type=path, metavar="FILE", help="build from simulated studies, without a store")
    made.add_argument("--output", type=path, help="NIfTI file to write (default: COHORT.template.nii.gz)")
    made.add_argument("--rounds", type=positive, default=3, help="times that all are registered (default: 3)")
    words = f"studies to average at most (default: {TEMPLATE_STUDIES}; simulated: {SIMULATED_TEMPLATE_STUDIES})"
    made.add_argument("--studies", type=positive, help=words)
    made.add_argument("--no-run", action="store_true", help="only build it, and leave the store as it is")
    cluster_options(made)

    words = "write the atlas as an image of labels, and their names beside it"
    made = add_command(parsers, "atlas", atlas, words, "datbatch atlas atlas.nii.gz")
    made.add_argument("output", type=path, help="NIfTI file to write; the names go to a .tsv of the same name")


def template(options: argparse.Namespace) -> Answer:
    """Build a template, and normalise with it."""
    if (options.cohort is None) == (options.simulated is None):
        raise ConfigurationError("give a cohort, or --simulated FILE", "Call `datbatch template --help`.")
    if options.simulated is not None:
        from datbatch.stages.template.simulated import build_simulated_template

        workers, studies = options.workers or os.cpu_count() or 1, options.studies or SIMULATED_TEMPLATE_STUDIES
        how: dict[str, Any] = {"rounds": options.rounds, "workers": workers, "quiet": options.quiet}
        rounds = build_simulated_template(options.simulated, studies, **how)
        said = {"template": str(options.simulated), "rounds": [asdict(one) for one in rounds]}
        return Answer("\n".join([str(options.simulated), *_convergence(rounds)]), said)
    from datbatch.stages.template.group import build_cohort_template, normalise_with, template_path

    output = options.output or template_path(options.cohort)
    built = build_cohort_template(
        options.cohort, output=output, rounds=options.rounds, most=options.studies or TEMPLATE_STUDIES,
        **where(options),
    )  # fmt: skip
    verb = "built" if built.built else "is there already, built"
    of = f"{built.studies} of {built.normals} normal studies of good quality"
    lines = [f"{built.path} {verb} from {of}", *_convergence(built.rounds)]
    values: dict[str, Any] = asdict(built) | {"template": str(built.path), "run": None}
    del values["path"]
    if options.no_run:
        return Answer("\n".join([*lines, f'To use it: [register] template = "{built.path}"']), values)
    ran = normalise_with(options.cohort, output, **where(options))
    then = run_answer(ran, f"{options.cohort}\nNext: datbatch train {options.cohort}")
    return Answer("\n".join([*lines, then.text]), {**values, "run": then.values}, then.code)


def _convergence(rounds: Sequence[Round]) -> list[str]:
    """Show what each round changed."""
    lines = [f"{'round':>5} {'studies':>8} {'change':>8} {'moved mm':>9}"]
    for one in rounds:
        moved = "-" if one.movement_mm is None else f"{one.movement_mm:.3f}"
        lines.append(f"{one.number:>5} {one.studies:>8} {one.change:>8.4f} {moved:>9}")
    return lines


def atlas(options: argparse.Namespace) -> Answer:
    """Write the atlas as NIfTI."""
    from datbatch import schema
    from datbatch.imaging import write_labels

    names = write_labels(options.output)
    labels = dict(enumerate(schema.ATLAS_LABELS, 1))
    return Answer(f"{options.output}\n{names}", {"atlas": str(options.output), "names": str(names), "labels": labels})

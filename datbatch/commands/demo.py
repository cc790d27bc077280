"""`datbatch demo` and `simulate`: simulated archives, and everything on a small one."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datbatch.commands.command import NOTICE, Answer, add_command, cluster_options, path, positive, where
from datbatch.commands.run import outcome


def add(parsers: Any) -> None:
    """Describe the commands."""
    made = add_command(parsers, "demo", demo, "run everything on a small simulated archive", "datbatch demo demo")
    made.add_argument("folder", type=path, nargs="?", default=Path("demo"), help="where to put it (default: demo)")
    made.add_argument("--studies", type=positive, default=64, help="studies to simulate (default: 64)")
    cluster_options(made)

    words = "make an archive of simulated raw DICOM studies with known truth"
    made = add_command(parsers, "simulate", simulate, words, "datbatch simulate archive --studies 64")
    made.add_argument("archive", type=path, help="folder to make")
    made.add_argument("--studies", type=positive, required=True, help="how many")
    made.add_argument("--seed", type=int, default=0, help="seed; study k depends on it and k alone")
    made.add_argument("--no-defects", action="store_true", help="leave out the studies that are broken on purpose")
    made.add_argument("--workers", type=positive, help="processes (default: one per core)")


def demo(options: argparse.Namespace) -> Answer:
    """Run everything on a small simulated archive."""
    from datbatch.demo import run_demo

    demo = run_demo(options.folder, options.studies, **where(options))
    program = sys.argv[0]
    text = f"""
{outcome(demo.ran)}
store   {demo.store}
model   {demo.trained.folder}
report  {demo.report}
explorer  {demo.explorer}

Next: open report and explorer in a browser, or try
  {program} failures {demo.store}
  {program} study '{demo.example}' --model {demo.trained.folder} --picture {options.folder}/study.png
  {Path(program).with_name("python")} -c "import xarray; print(xarray.open_datatree('{demo.store}', engine='zarr'))"
Call the same command again: it resumes and computes nothing twice. {NOTICE}"""
    return Answer(text, asdict(demo))


def simulate(options: argparse.Namespace) -> Answer:
    """Make an archive of simulated studies."""
    from datbatch.demo import simulate_with_progress

    simulate_with_progress(
        options.archive, options.studies, seed=options.seed, defects=not options.no_defects,
        workers=options.workers, quiet=options.quiet,
    )  # fmt: skip
    text = f"{options.studies} studies in {options.archive}\nNext: datbatch run {options.archive} cohort.zarr"
    return Answer(text, {"archive": str(options.archive), "studies": options.studies})

"""The main job, whole, on a small simulated archive: the first thing that a newcomer runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datbatch import schema
from datbatch.archive import read_linkage
from datbatch.cohort.store import Store, linkage_path
from datbatch.cohort.views.query import open_cohort
from datbatch.config import Config, StoreConfig, TrainConfig, TrustConfig
from datbatch.errors import NormalRangeError
from datbatch.progress import Progress
from datbatch.report import write_report
from datbatch.report.explorer import write_explorer
from datbatch.simulation import simulate_archive
from datbatch.stages.evaluate import EvaluationSummary, evaluate_cohort
from datbatch.stages.explain import ExplainSummary, explain_cohort
from datbatch.stages.imaging import RunSummary, run_imaging
from datbatch.stages.norms import NormsSummary, fit_norms
from datbatch.stages.train import TrainSummary, train_model
from datbatch.stages.trust import TrustOutcome, try_maps

SEED = 2022
CONFIG = Config(
    store=StoreConfig(granule_studies=8),
    train=TrainConfig(preset="compact", schedule="cosine", epochs=36),
    # A taste of it: the figures need more studies to say much.
    trust=TrustConfig(studies=4, flipping_steps=8, random_orders=1, noise_draws=2),
)


@dataclass(frozen=True)
class Demo:
    """What the demo left."""

    store: Path
    report: Path
    explorer: Path
    example: Path
    """File of a study that went well, to try `datbatch study` on."""
    ran: RunSummary
    norms: NormsSummary | None
    """None where the demo has too few normal studies."""
    trained: TrainSummary
    explained: ExplainSummary
    evaluated: EvaluationSummary
    trust: TrustOutcome


def run_demo(
    folder: Path, studies: int, *, cluster: str | None = None, workers: int | None = None, quiet: bool = False
) -> Demo:
    """Simulate an archive, take it through every stage, and write report and explorer; resumes where it was stopped.

    Parameters
    ----------
    folder : Path
        Where everything goes.
    studies : int
        How many studies to simulate; about one in four is broken on purpose.
    cluster, workers, quiet
        As for `run_imaging`.
    """

    def say(words: str) -> None:
        if not quiet:
            print(words, file=sys.stderr, flush=True)

    archive, cohort = folder / "archive", folder / "cohort.zarr"
    folder.mkdir(parents=True, exist_ok=True)
    say("1/8 an archive of simulated raw DICOM studies from several sites, some broken on purpose")
    simulate_with_progress(archive, studies, seed=SEED, defects=True, workers=workers, quiet=quiet)
    say("2/8 read, reconstruct, normalise, quantify, store")
    ran = run_imaging(archive, cohort, CONFIG, cluster=cluster, workers=workers, quiet=quiet)
    say("3/8 train the network")
    trained = train_model(cohort, CONFIG, cluster=cluster, workers=workers, quiet=quiet)
    say("4/8 normal range and harmonisation")
    norms = _norms(cohort, say, quiet)
    say("5/8 infer and explain")
    explained = explain_cohort(cohort, CONFIG, model=trained.model, cluster=cluster, workers=workers, quiet=quiet)
    say("6/8 evaluate")
    evaluated = evaluate_cohort(cohort, CONFIG, model=trained.model, cluster=cluster, workers=workers, quiet=quiet)
    say("7/8 try whether the maps can be trusted")
    trust = try_maps(cohort, CONFIG, model=trained.model, cluster=cluster, workers=workers, quiet=quiet)
    say("8/8 report and explorer")
    report = write_report(open_cohort(cohort), folder / "report.html", model=trained.model)
    explorer = write_explorer(open_cohort(cohort), folder / "explorer", model=trained.model, quiet=quiet).page
    return Demo(
        cohort, report, explorer, _first_study(archive, cohort), ran, norms, trained, explained, evaluated, trust
    )


def _norms(cohort: Path, say: Callable[[str], None], quiet: bool) -> NormsSummary | None:
    try:
        return fit_norms(cohort, CONFIG, quiet=quiet)
    except NormalRangeError as error:
        # A demo of few studies has few normals: all else can still be shown.
        say(str(error))
        return None


def simulate_with_progress(
    archive: Path, studies: int, *, seed: int, defects: bool, workers: int | None, quiet: bool
) -> None:
    """Simulate an archive, one process per core by default, and show how far it is."""
    progress = Progress("simulate", studies, quiet=quiet)
    simulate_archive(
        archive,
        studies,
        seed=seed,
        defects=defects,
        workers=workers or os.cpu_count() or 1,
        progress=progress.reach,
    )
    progress.close()


def _first_study(archive: Path, cohort: Path) -> Path:
    store, files = Store(cohort), read_linkage(linkage_path(cohort))
    done = (s for s, state in zip(store.studies, store.read_table("status"), strict=True) if state == schema.DONE)
    return archive / files[next(done)][0]

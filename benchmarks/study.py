"""How long one study takes: `datbatch study` from the command line, and `explain_study` in a running Python session.

    python benchmarks/study.py build/study --runs 5

prints a Markdown table. The folder gets one simulated study and a model of each preset with random weights, which take
as long as trained ones. The machine should have nothing else to do; processor seconds stand beside the wall time, so
that it shows when it has. There is no peer: no other program does all of it. The first run of a fresh installation
compiles the kernels once and is not counted.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from datbatch import __version__, schema
from datbatch.classifier import PRESETS, ModelCard, build_network, save_model
from datbatch.config import Config
from datbatch.simulation import simulate_archive

SEED = 6
BARS_S = {("command", "compact"): (6.0, 3.0), ("session", "paper"): (3.0, 2.0)}
"""What must be reached, and what would be good, by way and preset."""
PROGRAM = str(Path(sys.executable).parent / "datbatch")
SESSION = """
import sys, time
from datbatch import explain_study
for _ in range(int(sys.argv[3])):
    start, worked = time.perf_counter(), time.process_time()
    explain_study([sys.argv[1]], sys.argv[2])
    print(time.perf_counter() - start, time.process_time() - worked)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/study"))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    study = simulated(options.folder)
    threads = len(os.sched_getaffinity(0))
    print(f"datbatch {__version__}, Python {platform.python_version()}, {machine()}, {threads} threads")
    print(f"{time.strftime('%Y-%m-%d')}; load before: {os.getloadavg()[0]:.1f}; medians of {options.runs}\n")
    print("| way | preset | s | processor s | bar s | reach for s |\n|---|---|---|---|---|---|")
    for preset in ("compact", "paper"):
        model = random_model(options.folder, preset)
        from_command(study, model)
        show("command, text", preset, [from_command(study, model) for _ in range(options.runs)], "command")
        out = options.folder / f"{preset}.out"
        show("command, with page and volumes", preset, [from_command(study, model, out) for _ in range(options.runs)])
        first, *later = in_session(study, model, options.runs + 1)
        show("session, first call", preset, [first])
        show("session, later calls", preset, later, "session")


def show(way: str, preset: str, runs: list[tuple[float, float]], bar: str = "") -> None:
    wall, worked = (statistics.median(column) for column in zip(*runs, strict=True))
    limits = BARS_S.get((bar, preset))
    shown = " | ".join(f"{limit:g}" for limit in limits) if limits else "- | -"
    print(f"| {way} | {preset} | {wall:.2f} | {worked:.2f} | {shown} |", flush=True)


def from_command(study: Path, model: Path, out: Path | None = None) -> tuple[float, float]:
    """Run the command as a process; gives wall and processor seconds."""
    arguments = [PROGRAM, "study", str(study), "--model", str(model)]
    if out is not None:
        shutil.rmtree(out, ignore_errors=True)
        arguments += ["--output", str(out)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_session(study: Path, model: Path, calls: int) -> list[tuple[float, float]]:
    """Call `explain_study` again and again in one fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", SESSION, str(study), str(model), str(calls)], check=True, capture_output=True, text=True
    )
    return [(float(wall), float(worked)) for wall, worked in map(str.split, done.stdout.splitlines())]


def simulated(folder: Path) -> Path:
    """Make one study without defects, once."""
    archive = folder / "archive"
    if not archive.exists():
        simulate_archive(archive, 1, seed=SEED, defects=False, workers=1)
    return next(archive.rglob("*.dcm"))


def random_model(folder: Path, preset: str) -> Path:
    """Save a network with seeded random weights, once."""
    path = folder / preset
    if not path.exists():
        config = replace(Config(), train=replace(Config().train, preset=preset))
        card = ModelCard(
            preset=preset,
            shape=schema.SHAPE,
            config=config.to_stored_dict(),
            data_digest="random weights",
            orientation={"sign": 1, "threshold": 0.0, "auc": 1.0},
        )
        save_model(path, build_network(schema.SHAPE, pool=PRESETS[preset].pool, seed=SEED), card)
    return path


def machine() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()

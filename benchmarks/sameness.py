"""Whether this code still gives what an older commit gave: every array, ledger row, model and pseudonym, bit by bit.

    python benchmarks/sameness.py COMMIT --kill
    python benchmarks/sameness.py COMMIT --quick

The old code simulates an archive (fixed seed, some studies broken on purpose) and takes it through run, train, norms,
explain, evaluate and trust, with a fixed key of the pseudonyms. This code does the same with each number of workers,
and with `--kill` once more, while each command is killed (SIGKILL) and called again. Where there is a command
`migrate`, a copy of the old store is migrated, too. Each result is compared with the old one twice: file by file, by
SHA-256, and by content, wherever it lies: arrays are read by zarr, ledger rows are found by stage and study. JSON files
must have the same content, all others the same bytes, too. What may differ stands in EXCEPTIONS; anything else is
printed and ends with exit code 1. What the old code made is kept in the folder for the next call.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import zarr

HERE = Path(__file__).resolve().parent.parent
EXCEPTIONS = (
    # What may differ, as `kind: path` in the form that differences are printed in (`*` is anything); by which share of
    # itself a number may, at most; and why.
    ("run records: *", math.inf, "times, rates, versions and the digest of the code"),
    ("beside the store: cohort.scan", math.inf, "a cache that remembers when it looked"),
    ("attributes: relevance/*/created", math.inf, "a time"),
    ("facts: *", math.inf, "layout 4: attributes and columns, which are compared as such, stand in the ledger, too"),
    ("lists of the ledger: *", math.inf, "the same: a list of objects stands in place of the seal"),
    ("attributes: ./sealed", math.inf, "the same"),
    ("attributes: ./made_with", math.inf, "the same"),
    ("attributes: relevance/*/stale", math.inf, "explaining says itself that the maps are of today's uptake"),
    ("array metadata: */attributes/long_name", math.inf, "plainer words"),
    ("tables: error_reason/*", math.inf, "the same"),
    ("ledger *: */reason", math.inf, "the same"),
    ("attributes: ./datbatch_version", math.inf, "a version"),
    ("*/versions/*", math.inf, "versions"),
    ("*/.ledger-*", math.inf, "left by a writer that was killed: `verify --repair` removes it"),
    ("*.partial", math.inf, "the same"),
    ("beside the store: .cohort.*", math.inf, "the same; the next writing of the file removes it after a minute"),
    ("attributes: ./layout_version", math.inf, "layout 3: limits of flags left the identity of imaging"),
    ("attributes: ./stages/*", math.inf, "the same"),
    ("attributes: ./folded", math.inf, "the same"),
    ("attributes: relevance/*/quantify", math.inf, "the same"),
    ("model files: */normal_range.json/imaging", math.inf, "the same"),
    ("attributes: relevance/*/orientation*", math.inf, "what a sign means left the copy of the card"),
    ("attributes: relevance/*/card/orientation*", math.inf, "the same"),
    ("attributes: relevance/*/evaluation/*", 1e-12, "the last bits of Wilson's and McNemar's figures: scipy's now"),
    ("* */metrics/*", 1e-12, "the same, in a model's card"),
)
PROGRAM = "import sys; from datbatch.cli import main; sys.exit(main())"
COMMANDS = ("run", "train", "norms", "explain", "evaluate", "trust")
# Of this seed, even 24 studies have enough normal ones for a normal range.
SEED, KEY = 165, f"{2022:064x}\n"
CONFIG = """[store]
granule_studies = 4
[split]
train_fraction = 0.8
validation_fraction = 0.1
[train]
preset = "compact"
schedule = "cosine"
epochs = {epochs}
checkpoint_minutes = 0.05
[trust]
studies = {trust}
flipping_steps = 4
random_orders = 1
noise_draws = 1
"""
SHOWN = 10
"""Differences of a kind that are printed."""
MISSING = "(missing)"


Things = dict[tuple[str, str], Any]
"""Of JSON types, by kind and path; dicts where parts can differ alone."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", help="of the old code")
    parser.add_argument("--tree", type=Path, help="folder of the old code, in the place of a commit")
    parser.add_argument("--studies", type=int, help="default: 64, or 24 with --quick; fewer give no normal range")
    parser.add_argument("--workers", type=int, nargs="+", help="default: 1 2, or 2 with --quick")
    parser.add_argument("--kill", action="store_true", help="also kill and resume each command")
    parser.add_argument("--quick", action="store_true", help="fewer studies, epochs and trials of maps")
    parser.add_argument("--folder", type=Path, default=Path("build/sameness"))
    options = parser.parse_args()
    if (options.commit is None) == (options.tree is None):
        parser.error("give a commit or a folder of code")
    studies = options.studies or (24 if options.quick else 64)
    numbers = options.workers or ([2] if options.quick else [1, 2])
    toml = CONFIG.format(epochs=2 if options.quick else 4, trust=4 if options.quick else 8)
    folder, code = old_code(options, hashlib.sha256(f"{studies} {SEED} {KEY}{toml}".encode()).hexdigest()[:8])
    print(f"old: {folder.name}; new: {HERE}; Python {platform.python_version()}, {os.cpu_count()} cores, "
          f"{time.strftime('%Y-%m-%d')}, load before {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    archive, old, made = folder / "archive", folder / "old", folder / "made"
    if not made.exists():
        call(code, ["simulate", archive, "--studies", studies, "--seed", SEED, "--quiet"])
        chain(code, archive, fresh(old, toml), numbers[0], {})
        made.touch()
    before, wrong, seconds = look(old), 0, dict[str, float]()
    for workers, killed in [*((number, False) for number in numbers), *([(numbers[-1], True)] * options.kill)]:
        new = fresh(folder / "new", toml)
        seconds, shots = chain(HERE, archive, new, workers, seconds if killed else {})
        if killed and not shots:
            raise SystemExit("nothing was killed: every command ended before")
        wrong += show("\n".join([f"{workers} workers, {sum(seconds.values()):.0f} s", *shots]), before, look(new))
    if re.search(r"^ +migrate ", call(HERE, ["--help"]), re.MULTILINE):
        shutil.rmtree(folder / "migrated", ignore_errors=True)
        shutil.copytree(old, folder / "migrated")
        call(HERE, ["migrate", folder / "migrated" / "cohort.zarr"])
        wrong += show("the old store, migrated, against the new one", look(folder / "migrated"), look(new))
    else:
        print("\nno store was migrated: there is no command `migrate`")
    print("\n| may differ | by the share | because |\n|---|---|---|")
    for pattern, share, why in EXCEPTIONS:
        print(f"| `{pattern}` | {share if share < math.inf else 'any'} | {why} |")
    print(f"\n{f'{wrong} differences' if wrong else 'identical'} beyond what may differ")
    return int(wrong > 0)


def old_code(options: argparse.Namespace, recipe: str) -> tuple[Path, Path]:
    """Give the folder for what the old code makes, and the old code itself."""
    root = options.folder.resolve()
    if options.tree is not None:
        # It may have changed since the last call.
        shutil.rmtree(root / f"tree-{recipe}", ignore_errors=True)
        return root / f"tree-{recipe}", options.tree.resolve()
    named = ["git", "rev-parse", "--short=12", "--verify", f"{options.commit}^{{commit}}"]
    commit = subprocess.run(named, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    packed = subprocess.run(["git", "archive", commit, "datbatch"], cwd=HERE, check=True, stdout=subprocess.PIPE)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
        tar.extractall(root / f"{commit}-{recipe}" / "code", filter="data")
    return root / f"{commit}-{recipe}", root / f"{commit}-{recipe}" / "code"


def fresh(folder: Path, toml: str) -> Path:
    """Make a folder that holds only parameters and the key of the pseudonyms."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(toml)
    (folder / "cohort.key").touch(mode=0o600)
    (folder / "cohort.key").write_text(KEY)
    return folder


def chain(
    tree: Path, archive: Path, folder: Path, workers: int, spans: Mapping[str, float]
) -> tuple[dict[str, float], list[str]]:
    """Call all commands; with `spans`, kill each within its seconds and call it again. Give seconds and kills."""
    took, shots, started = dict[str, float](), list[str](), list[subprocess.Popen[str]]()
    chance = np.random.default_rng(SEED)
    try:
        for name in COMMANDS:
            words = [name, *([archive] if name == "run" else []), folder / "cohort.zarr", "--quiet"]
            words += ["--config", folder / "config.toml", *([] if name == "norms" else ["--workers", workers])]
            for alone in (False, True) if spans else ():
                before = objects(folder)
                process = start(tree, words, subprocess.DEVNULL)
                started.append(process)
                # At the first new result, or where a command leaves none before its end, at some moment.
                limit = time.monotonic() + chance.uniform(0.2, 0.8) * spans[name]
                while process.poll() is None and time.monotonic() < limit and objects(folder) <= before:
                    time.sleep(0.05)
                if process.poll() is None:
                    victim = "the driver, whose workers must notice" if alone else "driver and workers"
                    shots.append(f"killed in {name}, {objects(folder)} objects in the ledger: {victim}")
                    kill(process, alone=alone)
            begun = time.monotonic()
            call(tree, words)
            took[name] = time.monotonic() - begun
    finally:
        for process in started:
            kill(process)
    return took, shots


def objects(folder: Path) -> int:
    return len(list((folder / "cohort.zarr" / "ledger").glob("*/**/*.json")))


def start(tree: Path, words: Sequence[object], output: int) -> subprocess.Popen[str]:
    """Start a command of the code in a folder, which is the current folder of all its processes, too."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, *map(str, words)], cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)},
        stdout=output, stderr=output and subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def call(tree: Path, words: Sequence[object]) -> str:
    """Let a command go to its end and give what it printed."""
    process = start(tree, words, subprocess.PIPE)
    try:
        printed = process.communicate()[0]
    finally:
        kill(process)
    if process.returncode not in (0, 3):
        raise SystemExit(f"`datbatch {words[0]}` of {tree} did not end well: {printed}")
    return printed


def kill(process: subprocess.Popen[str], *, alone: bool = False) -> None:
    """Kill a process, and all that it started, too."""
    with suppress(ProcessLookupError):
        if alone:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def look(folder: Path) -> tuple[Things, Things]:
    """Read a store and what stands beside it: SHA-256 of each file, and what the files hold."""
    files, items, arrays, store = Things(), Things(), dict[Path, str](), folder / "cohort.zarr"
    studies = np.asarray(zarr.open_array(store / "study", mode="r")[...]).tolist()
    for place in sorted(store.rglob("zarr.json")):
        name, metadata = place.parent.relative_to(store).as_posix(), json.loads(place.read_text())
        if metadata["node_type"] == "group":
            # Without the root's copy of all metadata.
            items["attributes", name] = {
                key: json.loads(value) if isinstance(value, str) and value.startswith("{") else value
                for key, value in metadata["attributes"].items()
            }
            continue
        items["array metadata", name] = metadata
        values, dims = zarr.open_array(place.parent, mode="r"), tuple(metadata["dimension_names"])
        kind = "tables" if dims[0] == "study" else "images" if dims == ("x", "y", "z") else "coordinates"
        if dims == ("study", "x", "y", "z"):
            kind = "uptake" if name == "uptake" else "maps"
        arrays[place.parent] = kind
        if dims[0] == "study":
            items |= {(kind, f"{name}/{study}"): told(values[row]) for row, study in enumerate(studies)}
        else:
            items[kind, name] = told(values[...])
    for place in sorted(path for path in folder.rglob("*") if path.is_file()):
        path, content = place.relative_to(folder), place.read_bytes()
        kind, name = next((arrays[p] for p in place.parents if p in arrays), kind_beside(path)), path.as_posix()
        files[kind, name] = hashlib.sha256(content).hexdigest()
        if kind.startswith("ledger ") and path.suffix == ".json":
            found = json.loads(content)
            # Neither the stage's digest nor the object's, which covers its place.
            stage = "/".join(part for part in path.parts[2:-1] if not re.fullmatch("[0-9a-f]{16}", part))
            for row in found.get("rows", ()):
                items.setdefault((kind, f"{stage}/{row['study']}"), []).append(row)
            if "rows" not in found:
                items[kind, f"{stage}/{place.name}"] = found
        elif kind == "pseudonyms":
            items |= {(kind, row.split(",")[0]): row for row in content.decode().splitlines()}
        elif path.suffix == ".json" and kind != "attributes" and place.name != "zarr.json":
            items[kind, name] = json.loads(content)
        if kind == "weights":
            items["model names", path.parts[1]] = path.parts[1]
    return files, items


def kind_beside(path: Path) -> str:
    """Say what a file is that belongs to no array."""
    match path.parts:
        case ("cohort.zarr", "ledger", "facts", *_):
            return "facts"
        case ("cohort.zarr", "ledger", stage, _, *_):
            return f"ledger {stage}"
        case ("cohort.zarr", "ledger" | "runs" as folder, _):
            return "lists of the ledger" if folder == "ledger" else "run records"
        case ("cohort.zarr", *_):
            return "attributes" if path.name == "zarr.json" else "other files of the store"
        case ("cohort.models", *_):
            return "weights" if path.suffix == ".safetensors" else "model files"
    return "pseudonyms" if path.name == "cohort.linkage.csv" else "beside the store"


def told(values: Any) -> str:
    """Say what an array holds: its values where they are few, else their digest."""
    array = np.asarray(values)
    return repr(array.tolist()) if array.size < 1000 else hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Give path and both values of each part that differs."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key, MISSING), new.get(key, MISSING), f"{path}/{key}")
    elif json.dumps(old) != json.dumps(new):
        yield path, old, new


def may_differ(path: str, old: Any, new: Any) -> bool:
    numbers = isinstance(old, float) and isinstance(new, float)
    return any(
        fnmatchcase(path, pattern) and (share == math.inf or (numbers and math.isclose(old, new, rel_tol=share)))
        for pattern, share, _ in EXCEPTIONS
    )


def show(title: str, old: tuple[Things, Things], new: tuple[Things, Things]) -> int:
    """Print how two stores compare, by kind, and give the number of items and files that must not differ, but do."""
    counts, wrong = defaultdict[str, Counter[str]](Counter), defaultdict[str, list[str]](list)
    for level, before, after in zip(("files", "items"), old, new, strict=True):
        for kind, name in sorted({**before, **after}):
            left, right = before.get((kind, name), MISSING), after.get((kind, name), MISSING)
            found = list(differences(left, right, f"{kind}: {name}"))
            # A JSON object may bear the digest of its place.
            free = level == "files" and name.endswith(".json")
            bad = [
                f"{path}: {json.dumps(was)[:60]} -> {json.dumps(became)[:60]}"
                for path, was, became in found
                if not free and not may_differ(path, was, became)
            ]
            counts[kind] += Counter({level: 1, f"same {level}": not found, "differ": bool(bad)})
            wrong[kind] += bad
    columns = ("files", "same files", "items", "same items", "differ")
    print(f"\n{title}\n\n| kind | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for kind in sorted(counts):
        print(f"| {kind} | {' | '.join(str(counts[kind][column]) for column in columns)} |")
    for lines in filter(None, wrong.values()):
        more = [f"and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)
        print("".join(f"\n  {line}" for line in lines[:SHOWN] + more))
    sys.stdout.flush()
    return sum(map(len, wrong.values()))


if __name__ == "__main__":
    sys.exit(main())

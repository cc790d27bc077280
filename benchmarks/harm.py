"""Random harm to every file of a cohort, one file at a time: what `verify` finds, and what `--repair` brings back.

    python benchmarks/harm.py COHORT --rounds 388

COHORT is a finished store (`make demo` leaves one) with its private files; a copy of it is harmed. Each round chooses a
file of the store or beside it, and flips a bit, cuts, lengthens, empties, exchanges or removes it. `verify` must name
that file, or the array or granule that it belongs to, and nothing that is not of it. Then `--repair` is called: it must
bring back the same bytes, or say which command would. The same seed harms the same files in the same way.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from datbatch import __version__
from datbatch.cohort.facts import LISTING
from datbatch.cohort.verify import Damage
from datbatch.errors import DatbatchError
from datbatch.stages.repair import repair_cohort, verify_cohort

HARMS = ("a bit flipped", "cut", "lengthened", "emptied", "exchanged", "removed")
CACHES = (".scan", ".lock")
"""Files beside a store that are made again without a word."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--rounds", type=int, default=388)
    parser.add_argument("--repairs", type=int, default=40, help="rounds that are repaired, too (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return harm_rounds(options, Path(folder))


def harm_rounds(options: argparse.Namespace, folder: Path) -> int:
    """Do all rounds, print the table; 1 where harm was not found or not mended."""
    own = folder / options.cohort.name
    shutil.copytree(options.cohort, own)
    for path in options.cohort.parent.glob(f"{options.cohort.stem}.*"):
        if path != options.cohort:
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, folder / path.name)
    found, tried, mended = Counter[str](), Counter[str](), Counter[str]()
    chance = np.random.default_rng(options.seed)
    before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    victims = [path for path in before if path.suffix not in CACHES and path.parent.name != "runs"]
    for number in range(options.rounds):
        victim, kind = victims[chance.integers(len(victims))], HARMS[chance.integers(len(HARMS))]
        if path_harmed(victim, kind, before, victims, chance):
            name = victim.relative_to(folder).as_posix()
            tried[kind] += 1
            told = damages(own)
            found[kind] += any(belongs(one, name, own.name) for one in told)
            if not any(belongs(one, name, own.name) for one in told):
                print(f"round {number}: {name} {kind}, said: {[one.array for one in told]}", file=sys.stderr)
            if number % max(1, options.rounds // options.repairs) == 0:
                mended[mend(own, victim, before)] += 1
        restore(folder, before)
    print(f"datbatch {__version__}, seed {options.seed}, {len(victims)} files, {time.strftime('%Y-%m-%d')}\n")
    print("| harm | files | found |\n|---|---|---|")
    for kind in HARMS:
        print(f"| {kind} | {tried[kind]} | {found[kind]} |")
    print(f"\n{found.total()} of {tried.total()} found; repaired: {dict(mended)}")
    return int(found.total() < tried.total() or mended["differs in silence"] > 0)


def path_harmed(
    victim: Path, kind: str, before: dict[Path, bytes], victims: list[Path], chance: np.random.Generator
) -> bool:
    """Harm a file; False where nothing would change."""
    content = before[victim]
    at, other = int(chance.integers(max(1, len(content)))), victims[chance.integers(len(victims))]
    if kind == "removed":
        # What is not beside a store was kept back by whoever handed it on.
        if ".zarr" not in victim.as_posix():
            return False
        victim.unlink()
        return True
    harmed = {
        "a bit flipped": content[:at] + bytes([content[at] ^ (1 << int(chance.integers(8)))]) + content[at + 1 :]
        if content
        else content,
        "cut": content[:at],
        "lengthened": content + b" ",
        "emptied": b"",
        "exchanged": before[other],
    }[kind]
    victim.write_bytes(harmed)
    return harmed != content


def damages(cohort: Path) -> list[Damage]:
    try:
        return verify_cohort(cohort, quiet=True).damages
    except DatbatchError as error:
        return [Damage(f"refused: {error.code}", "", "unreadable", None)]


def belongs(damage: Damage, name: str, store: str) -> bool:
    """Tell whether a damage is of this file."""
    if damage.array.startswith("refused: "):
        return True
    place = name.removeprefix(f"{store}/")
    return place == damage.array or place.startswith(f"{damage.array}/")


def mend(cohort: Path, victim: Path, before: dict[Path, bytes]) -> str:
    """Repair a store, and say how the harmed file is now."""
    try:
        unmended = repair_cohort(cohort, workers=1, quiet=True).unmended
    except DatbatchError as error:
        return f"refused ({error.code})"
    if victim.exists() and victim.read_bytes() == before[victim]:
        return "to the same bytes"
    if victim.name == Path(LISTING).name:
        return "to a list of today's objects"
    return "names the command that mends it" if unmended else "differs in silence"


def restore(folder: Path, before: dict[Path, bytes]) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, content in before.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())

"""A seeded sample of what benchmarks/fuzz.py does: hostile files end neither their reader nor the machine."""

import subprocess
import sys
from pathlib import Path

from benchmarks.mutations import MUTATIONS

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
FILES = 4 * len(MUTATIONS)


def test_hostile_files_are_refused_by_name_in_bounded_memory_and_time() -> None:
    command = [sys.executable, str(FUZZ), "--small", "--files", str(FILES), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    total = next(line for line in done.stdout.splitlines() if line.startswith("| all"))
    refused, read, *rest = (int(cell) for cell in total.strip("| ").split("|")[1:])
    assert refused + read == FILES
    assert refused > FILES // 2
    assert set(rest) == {0}

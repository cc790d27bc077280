"""Hostile files: damaged DICOM is refused by name, in bounded memory and time, and never takes its reader along.

    python benchmarks/fuzz.py --files 20000

Small acquisitions in every transfer syntax, a simulated study and the real files of DATBATCH_TEST_DATA, where it is
set, are damaged in ten ways and read in a process of its own, which may take 1 GB more than it has at rest and 10 s of
a processor a file (and 10 minutes by the clock, on a machine that does other things). The same seed makes the same
files; the folder of --keep gets those that were not dealt with.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.mutations import MUTATIONS, damaged, whole_files
from datbatch import __version__
from datbatch.archive.inspection import StudyFiles, check_study, inspect_file
from datbatch.config import ArchiveConfig
from datbatch.errors import InternalError, MemoryExceededError
from datbatch.simulation import acquire, draw_subject, site_named, write_study

MEMORY_BYTES = 1 << 30
PROCESSOR_SECONDS, CLOCK_SECONDS = 10.0, 600.0
OUTCOMES = ("refused by name", "read", "unforeseen error", "crash", "over 1 GB", "over 10 s")
REFUSED, READ, UNFORESEEN, CRASH, OVER_MEMORY, OVER_TIME = OUTCOMES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="leave out the simulated study and the real files")
    parser.add_argument("--keep", type=Path, help="folder for the files that were not dealt with")
    parser.add_argument("--reader", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        return serve()
    with tempfile.TemporaryDirectory() as folder:
        return fuzz(options, Path(folder))


def fuzz(options: argparse.Namespace, folder: Path) -> int:
    """Damage files, have each read, print the table; 1 where any was not dealt with."""
    files = whole_files(folder / "seeds")
    if not options.small:
        files.append(simulated(folder))
    projections = len(files)
    if not options.small:
        files += real_files()
    counts = {name: Counter[str]() for name in MUTATIONS}
    hostile, slowest, reader = folder / "hostile.dcm", 0.0, Reader(files, folder)
    for number in range(options.files):
        name, content = damaged(number, options.seed, files, projections)
        hostile.write_bytes(content)
        outcome, seconds = reader.read(hostile)
        counts[name][outcome] += 1
        slowest = max(slowest, seconds)
        if outcome not in (REFUSED, READ):
            print(f"file {number} of seed {options.seed}, {name}: {outcome}", file=sys.stderr, flush=True)
            if options.keep is not None:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{options.seed}-{number}.dcm").write_bytes(content)
    reader.end()
    print(
        f"datbatch {__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, "
        f"seed {options.seed}\n"
    )
    print(f"| {options.files} files from {len(files)} whole ones | {' | '.join(OUTCOMES)} |")
    print("|---|" + "---|" * len(OUTCOMES))
    for name, outcomes in [*counts.items(), ("all", sum(counts.values(), Counter[str]()))]:
        print(f"| {name} | {' | '.join(str(outcomes[outcome]) for outcome in OUTCOMES)} |")
    print(
        f"\nslowest file {slowest:.2f} s of a processor; most memory above the reader at rest {reader.peak >> 20} MiB"
    )
    return int(any(counts[name][outcome] for name in counts for outcome in OUTCOMES[2:]))


class Reader:
    """A process that reads files and may be lost."""

    def __init__(self, files: list[bytes], folder: Path) -> None:
        self._warm = [folder / f"whole-{number}.dcm" for number in range(len(files))]
        for path, content in zip(self._warm, files, strict=True):
            path.write_bytes(content)
        self.peak = 0
        self._start()

    def _start(self) -> None:
        command = [sys.executable, __file__, "--reader"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
        )
        # Whole files first, without limits: what is compiled and loaded on first use is not the hostile file's doing.
        self._ask({"warm": [str(path) for path in self._warm]}, 600.0)

    def read(self, path: Path) -> tuple[str, float]:
        """Give a file's outcome and how many seconds of a processor it took."""
        begin = time.monotonic()
        answer = self._ask({"read": str(path)}, CLOCK_SECONDS)
        if answer is None:
            self._process.kill()
        if not answer:
            late = answer is None or self._process.wait() == -signal.SIGVTALRM
            self._process.wait()
            self._start()
            return (OVER_TIME if late else CRASH), time.monotonic() - begin
        self.peak = max(self.peak, answer["peak"])
        return (OVER_TIME if answer["seconds"] > PROCESSOR_SECONDS else answer["outcome"]), answer["seconds"]

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, request: dict[str, object], seconds: float) -> dict[str, object] | None:
        """Give the process's answer, nothing where it ended, None where it took too long."""
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
        except BrokenPipeError:
            return {}
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {}


def serve() -> int:
    """Read files as they are named on standard input, under the limit."""
    rest = 0
    for line in sys.stdin:
        request = json.loads(line)
        for path in request.get("warm", ()):
            outcome_of(Path(path))
        if "warm" in request:
            rest = resident_peak()
            limit = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            # Ends a file that computes without end.
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
            answer = {"ready": True}
        else:
            signal.setitimer(signal.ITIMER_VIRTUAL, PROCESSOR_SECONDS)
            begin = time.process_time()
            answer = {"outcome": outcome_of(Path(request["read"])), "peak": resident_peak() - rest}
            answer["seconds"] = time.process_time() - begin
        print(json.dumps(answer), flush=True)
    return 0


def outcome_of(path: Path) -> str:
    """Look at a file and read it, as a scan of an archive does."""
    try:
        facts = inspect_file(path)
        check = check_study(StudyFiles((path,), ArchiveConfig()))
    except MemoryError:
        return OVER_MEMORY
    except Exception:
        return UNFORESEEN
    if check.outcome.code == MemoryExceededError.code:
        return OVER_MEMORY
    if check.outcome.code == InternalError.code or (facts.outcome.code and not check.outcome.code):
        return UNFORESEEN
    return REFUSED if check.outcome.code else READ


def resident_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def simulated(folder: Path) -> bytes:
    """Give a simulated study of full size."""
    subject = draw_subject(0, 0)
    return Path(write_study(folder / "simulated", acquire(subject, site_named(subject.site)))).read_bytes()


def real_files() -> list[bytes]:
    """Give the real files, where there are any."""
    place = os.environ.get("DATBATCH_TEST_DATA", "")
    if not place:
        print("DATBATCH_TEST_DATA is not set: no real files among the whole ones", file=sys.stderr)
        return []
    return [
        path.read_bytes()
        for path in sorted((Path(place) / "dicom").rglob("*"))
        if path.is_file() and path.stat().st_size < 1 << 20
    ]


if __name__ == "__main__":
    sys.exit(main())

"""What the scan of an archive costs when it is new, when nothing changed since, and when a few studies were added.

    python benchmarks/scan.py build/scan --studies 20000

prints a Markdown table. Two archives: one of simulated studies as scanners write them (megabytes each), one of many
tiny ones, whose reading costs next to nothing, so that what is left is the cache's own work. Each scan runs in a fresh
process, as `datbatch run` calls it; the manifests must be equal. Memory is the most that the scanning process took, the
manifest included. The bare scan reads everything in that one process, without a cache and without protection.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from datbatch import __version__
from datbatch.archive import scan_archive
from datbatch.archive.scan_cache import SETTLED_SECONDS
from datbatch.archive.scanning import scan_cache_path, scan_losable
from datbatch.config import Config
from datbatch.simulation import simulate_archive
from tests.archive.writer import Style, write

KEY = b"k" * 32
SEED = 7
ADDED = 10
SETTLE_SECONDS = SETTLED_SECONDS + 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/scan"), help="emptied first")
    parser.add_argument("--studies", type=int, default=20_000, help="tiny ones")
    parser.add_argument("--simulated", type=int, default=64, help="studies of the usual size")
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--step", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(options.folder, bare=options.bare)))
        return
    shutil.rmtree(options.folder, ignore_errors=True)
    print(f"datbatch {__version__}, Python {platform.python_version()}, {os.cpu_count()} cores, "
          f"{time.strftime('%Y-%m-%d')}; load before: {os.getloadavg()[0]:.1f}\n")  # fmt: skip
    print("| archive | scan | seconds | ms a study | of the first | peak MB | cache, MB |\n|" + "---|" * 7, flush=True)
    for name, count in (("simulated", options.simulated), ("tiny", options.studies)):
        folder = options.folder / name
        made(folder / "archive", name, count)
        time.sleep(SETTLE_SECONDS)
        first = shown(name, "first", folder, count)
        shown(name, "bare", folder, count, first, "--bare")
        second = shown(name, "nothing changed", folder, count, first)
        assert first["digest"] == second["digest"]
        made(folder / "archive" / "added", name, ADDED)
        shown(name, f"{ADDED} added", folder, count + ADDED, first)


def made(archive: Path, name: str, count: int) -> None:
    """Make an archive, or a part of one."""
    if name == "simulated":
        simulate_archive(archive, count, seed=SEED + count, defects=False, workers=os.cpu_count() or 1)
        return
    prefix = "1.2.826.0.1." + str(count)
    template = write(archive, Style("tiny", views=16, rows=8, bins=10), study=f"{prefix}.1000000000")[0]
    content = template.read_bytes()
    template.unlink()
    for number in range(count):
        folder = archive / f"{number % 997:03d}"
        folder.mkdir(exist_ok=True)
        # The projections differ, too: a study with those of another one is refused.
        own = content.replace(b".1000000000", f".1{number:09d}".encode())
        (folder / f"{number}.dcm").write_bytes(own[:-4] + number.to_bytes(4, "little"))


def shown(
    name: str, scan: str, folder: Path, count: int, first: dict[str, float] | None = None, *more: str
) -> dict[str, float]:
    """Scan in a fresh process and print a row."""
    arguments = [sys.executable, __file__, str(folder), "--step", *more]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    assert found["studies"] == count
    share = f"{100 * found['seconds'] / first['seconds']:.1f} %" if first else ""
    size = f"{scan_cache_path(folder / 'cohort.zarr').stat().st_size / 1e6:.1f}"
    print(f"| {name}, {count:,} | {scan} | {found['seconds']:.2f} | {1e3 * found['seconds'] / count:.3f} | {share} "
          f"| {found['peak_mb']:.0f} | {size} |", flush=True)  # fmt: skip
    return found


def measured(folder: Path, *, bare: bool) -> dict[str, float | str]:
    """Scan in this process."""
    archive, start = folder / "archive", time.perf_counter()
    if bare:
        manifest = scan_archive(archive.absolute(), key=KEY)
    else:
        manifest = scan_losable(
            archive, folder / "cohort.zarr", Config(), key=KEY, participants=None, known=(), progress=lambda *_: None
        )
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "studies": len(manifest.entries),
        "digest": hashlib.sha256(manifest.to_json()).hexdigest(),
    }


if __name__ == "__main__":
    main()

"""The commands as a user calls them, and one archive and cohort that many tests look at."""

import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datbatch import location, schema
from datbatch.cli import main
from datbatch.cohort.facts import LEDGER
from datbatch.cohort.store import Store
from datbatch.location import Location

PROGRAM = str(Path(sys.executable).parent / "datbatch")
STUDIES = 12
SEED = 5
SECTIONS: dict[str, dict[str, Any]] = {"store": {"granule_studies": 4}, "train": {"preset": "compact", "epochs": 2}}


def write_config(path: Path, **changes: dict[str, Any]) -> Path:
    """Write the parameter file of the tests, with changed sections."""
    sections = {name: SECTIONS.get(name, {}) | changes.get(name, {}) for name in SECTIONS.keys() | changes.keys()}
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in sorted(keys.items()))
        for name, keys in sorted(sections.items())
    )
    path.write_text(text)
    return path


def run_command(*arguments: object, expect: int = 0) -> dict[str, Any]:
    """Run a command with --json and give what it printed; its exit code must be the expected one."""
    done = subprocess.run([PROGRAM, *map(str, arguments), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == expect, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout) | {"stderr": done.stderr}
    return found


def call_command(*arguments: object, expect: int = 0) -> dict[str, Any]:
    """Do as `run_command`, but in this process, which has loaded the libraries."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*map(str, arguments), "--json"])
    assert code == expect, f"{arguments}: exit {code}\n{out.getvalue()}\n{err.getvalue()}"
    found: dict[str, Any] = json.loads(out.getvalue()) | {"stderr": err.getvalue()}
    return found


def start_command(*arguments: object) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, as a terminal would: a shell's background jobs ignore SIGINT."""
    return subprocess.Popen(
        [PROGRAM, *map(str, arguments), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def granules_done(cohort: Location) -> int:
    """Count the granules whose last imaging stage is in the ledger, on a disk or on S3."""
    return sum(name.endswith(".json") for name in location.names(cohort / LEDGER / "quantify"))


def wait_until(true: Callable[[], object], what: str = "it did not happen", patience_seconds: float = 120.0) -> None:
    """Look again and again, and fail with what did not happen."""
    limit = time.monotonic() + patience_seconds
    while not true():
        assert time.monotonic() < limit, what
        time.sleep(0.02)


def flip(file: Location, part: float = 0.5) -> None:
    """Change one bit of a file."""
    content = bytearray(location.read(file)[0])
    content[int(part * len(content))] ^= 16
    location.write(file, bytes(content))


def copy_studies(archive: Path, studies: list[list[Path]], target: Path) -> list[Path]:
    """Copy a part of an archive, with its table; give the folders of the studies."""
    target.mkdir()
    shutil.copy(archive / "participants.csv", target)
    folders = [target / files[0].parent.relative_to(archive) for files in studies]
    for files, folder in zip(studies, folders, strict=True):
        shutil.copytree(files[0].parent, folder)
    return folders


def made_once(folder: Path, make: Callable[[], None]) -> Path:
    """Make a folder's content once for all processes of a test session."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".made").exists():
            make()
            (folder / ".made").touch()
    return folder


def imaging_content(cohort: Path) -> dict[str, Any]:
    """Give every array of the imaging stages: two stores are equal when these are."""
    store = Store(cohort)
    content: dict[str, Any] = {
        variable.name: store.read_table(variable.name) for variable in schema.STUDY_TABLE if variable.writer != "train"
    }
    content["uptake"] = np.stack([store.volumes()[index] for index in range(len(store.studies))])
    return content


def assert_same_content(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert left.keys() == right.keys()
    for name, values in left.items():
        if values.dtype.kind == "f":
            unsigned = np.uint32 if values.dtype == np.float32 else np.uint64
            np.testing.assert_array_equal(values.view(unsigned), right[name].view(unsigned), err_msg=name)
        else:
            np.testing.assert_array_equal(values, right[name], err_msg=name)

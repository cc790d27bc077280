"""What earlier scans read of an archive, so that the next one opens only files that are new or changed."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import hmac
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datbatch import __version__, errors, location
from datbatch.archive.inclusion import System
from datbatch.archive.inspection import FileFacts, StudyCheck, StudyFiles, inspect_file
from datbatch.config import ArchiveConfig
from datbatch.files import read_private, write_whole
from datbatch.location import Location, Stamp

SETTLED_SECONDS = 10.0
"""A file that changed this shortly before a scan is read again by the next one: a second change within one tick of the
file system's clock would leave the same times. FAT's ticks are of 2 s; the rest is for a server whose clock is late."""
_MAC_BYTES = hashlib.sha256().digest_size
_PASSING = frozenset(
    kind.code
    for kind in (
        errors.InternalError,
        errors.MemoryExceededError,
        errors.StorageError,
        errors.TimeExceededError,
        errors.UnreadableDicomError,
        errors.WorkerLostError,
    )
)
"""What may be the machine's or the file system's fault, and not the files': another try may end otherwise."""
_BELOW = ("config", "errors", "location")
"""Modules outside this package that reading depends on."""
_Mapper = Callable[..., Iterable[Any]]


class FileState(NamedTuple):
    """What can be known of a file without opening it; another after every change of its content."""

    size: int
    modified_ns: int
    changed_ns: int
    identity: str
    """Number of the file on its file system, or tag of the object."""


class ScanCache:
    """A `Mapper` for `scan_archive` that calls the functions of a scan only on files that are new or changed.

    A file counts as unchanged when size, times of modification and change, and number (of an object: size, time and
    tag) are what they were before it was read. What is kept leads to persons: the file is for its owner alone, and
    authenticated with the key of the pseudonyms (HMAC-SHA-256), so that a damaged one, or another store's, is not
    believed. It is written on leaving the context, whether or not the scan came to its end.

    Parameters
    ----------
    path : Path
        Where it is kept; what is missing, damaged or of other code is ignored and replaced.
    archive : Path or S3Location
        Absolute address of the archive.
    mapper : callable
        Like `map`; called with what has to be read.
    key : bytes
        Key of the pseudonyms.
    config : ArchiveConfig
        Of the scan: checks of studies depend on it.
    inspect : callable
        What looks at one file; all else that is called checks a study.

    Raises
    ------
    ExposedFileError
        When others can read the file.
    """

    def __init__(
        self,
        path: Path,
        archive: Location,
        mapper: _Mapper,
        *,
        key: bytes,
        config: ArchiveConfig,
        inspect: Callable[[Location], FileFacts] = inspect_file,
    ) -> None:
        self._inspect = inspect
        self._path, self._archive, self._mapper, self._key = path, archive, mapper, key
        self._start = len(str(archive).rstrip("/")) + 1
        self._origin = {"archive": str(archive), "code": _code_digest(), "config": repr(config)}
        self._settled_ns = time.time_ns() - round(SETTLED_SECONDS * 1e9)
        self._files: dict[str, tuple[FileState, FileFacts]] = {}
        self._checks: dict[str, tuple[tuple[str, ...], StudyCheck]] = {}
        """By the first of the study's files; only of files that are in `_files`."""
        self._is_current = True
        """Whether the file holds what is known; it stays as it is where it could not even be looked at."""

    def __enter__(self) -> ScanCache:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_current:
            # A scan is worth more than what would make the next one quick.
            with contextlib.suppress(OSError):
                write_whole(self._path, self._packed(), private=True)

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Give the function's result for every item, in order; files are inspected before studies are checked."""
        return self._inspected(function, items) if function is self._inspect else self._checked(function, items)

    def _inspected(self, function: Callable[[Location], FileFacts], items: Iterable[Location]) -> Iterator[FileFacts]:
        paths = list(items)
        # Before any file is opened: what changes from here on has another state in the next scan.
        states = _states(self._archive, [self._name(path) for path in paths])
        self._load(states)
        new = [path for path in paths if self._name(path) not in self._files]
        read = iter(self._mapper(function, new))
        for name, state in states.items():
            if name in self._files:
                yield self._files[name][1]
                continue
            facts = next(read)
            # Without digest it was not read at all.
            if state is not None and max(state.modified_ns, state.changed_ns) < self._settled_ns and facts.digest:
                self._files[name] = state, facts
                self._is_current = False
            yield facts

    def _checked(
        self, function: Callable[[StudyFiles], StudyCheck], items: Iterable[StudyFiles]
    ) -> Iterator[StudyCheck]:
        studies = [(tuple(self._name(path) for path in study.paths), study) for study in items]
        new = [study for names, study in studies if self._kept_check(names) is None]
        read = iter(self._mapper(function, new))
        for names, _ in studies:
            check = self._kept_check(names)
            if check is None:
                check = next(read)
                if check.outcome.code not in _PASSING and all(name in self._files for name in names):
                    self._checks[names[0]] = names, check
                    self._is_current = False
            yield check

    def _kept_check(self, names: tuple[str, ...]) -> StudyCheck | None:
        of, check = self._checks.get(names[0], ((), None))
        return check if of == names else None

    def _name(self, path: Location) -> str:
        """Name a file relative to the archive, without the cost of taking paths apart."""
        return str(path)[self._start :]

    def _load(self, states: Mapping[str, FileState | None]) -> None:
        """Take over what is kept of unchanged files."""
        lines = self._lines()
        origin = next(lines, {})
        self._is_current = False
        if any(origin.get(name) != self._origin[name] for name in ("archive", "code")):
            return
        is_whole = same_config = origin == self._origin
        for line in lines:
            if "check" in line:
                names = tuple(line["files"])
                if same_config and all(name in self._files for name in names):
                    self._checks[names[0]] = names, StudyCheck(**_read(line["check"]))
                else:
                    is_whole = False
            elif states.get(line["file"]) == (state := FileState(*line["state"])):
                self._files[line["file"]] = state, FileFacts(**_read(line["facts"]))
            else:
                is_whole = False
        self._is_current = is_whole

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            content = read_private(self._path)
        except OSError:
            return
        mac, packed = content[:_MAC_BYTES], content[_MAC_BYTES:]
        if hmac.compare_digest(mac, hmac.digest(self._key, packed, "sha256")):
            with gzip.open(io.BytesIO(packed)) as lines:
                yield from map(json.loads, lines)

    def _packed(self) -> bytes:
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as lines:
            _write(lines, self._origin)
            for name, (state, facts) in self._files.items():
                _write(lines, {"file": name, "state": state, "facts": vars(facts)})
            for names, check in self._checks.values():
                _write(lines, {"files": names, "check": vars(check)})
        return hmac.digest(self._key, packed.getvalue(), "sha256") + packed.getvalue()


def _write(lines: gzip.GzipFile, line: Mapping[str, Any]) -> None:
    # In ASCII: names of files need not be valid Unicode.
    lines.write(json.dumps(line, default=vars).encode("ascii") + b"\n")


def _read(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "outcome": errors.Outcome(*values["outcome"]), "system": System(**values["system"])}


def _states(archive: Location, names: Iterable[str]) -> dict[str, FileState | None]:
    """Look at files without opening them; None where there is nothing to see."""
    if isinstance(archive, Path):
        return {name: _state_of_file(archive / name) for name in names}
    # One request tells of a thousand objects.
    listed = location.listing(archive)
    return {name: _state_of_object(*listed[name]) if name in listed else None for name in names}


def _state_of_file(path: Path) -> FileState | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns, str(found.st_ino))


def _state_of_object(size: int, stamp: Stamp) -> FileState:
    modified_ns = round(stamp.modified.timestamp() * 1e9)
    return FileState(size, modified_ns, modified_ns, stamp.tag)


@functools.cache
def _code_digest() -> str:
    """Give a digest of the code that reads: what other code found is found again."""
    decoders = [version(name) for name in ("pylibjpeg-openjpeg", "pyjpegls")]
    found = hashlib.sha256(f"{__version__} {np.__version__} {decoders}".encode())
    package = Path(__file__).parent.parent
    for source in sorted([*package.glob("archive/**/*.py"), *(package / f"{name}.py" for name in _BELOW)]):
        found.update(source.read_bytes())
    return found.hexdigest()

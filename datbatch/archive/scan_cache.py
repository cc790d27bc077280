"""The results of earlier scans of an archive: the next scan opens only files that are new or changed."""

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
"""A file that changed within this time before a scan is read again by the next one: a second change in the same tick of
the file system's clock would leave the same times. A tick of FAT is 2 s; the rest is for a server with a late clock."""
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
"""Errors that the machine or the file system may have caused: the next try may succeed."""
_BELOW = ("config", "errors", "location")
"""Modules outside of this package on which reading depends."""
_Mapper = Callable[..., Iterable[Any]]


class FileState(NamedTuple):
    """What is known of a file without opening it; every change of its content changes it."""

    size: int
    modified_ns: int
    changed_ns: int
    identity: str
    """Number of the file on its file system, or tag of the object."""


class ScanCache:
    """A `Mapper` for `scan_archive` that calls the functions of a scan only on files that are new or changed.

    A file counts as unchanged when it has the same size, times of modification and change, and number (an object: size,
    time and tag) as before it was read. The cache can identify persons: its file is for its owner alone, and it is
    authenticated with the key of the pseudonyms (HMAC-SHA-256), so that a damaged one, or that of another store, is not
    used. It is written at the end of the context, also when the scan did not finish.

    Parameters
    ----------
    path : Path
        Its file; a missing or damaged one, or that of other code, is ignored and replaced.
    archive : Path or S3Location
        Absolute address of the archive.
    mapper : callable
        Like `map`; called for what must be read.
    key : bytes
        Key of the pseudonyms.
    config : ArchiveConfig
        Of the scan; checks of studies depend on it.
    inspect : callable
        The function that inspects one file; every other function checks a study.

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
        """By the first of the study's files, which are all in `_files`."""
        self._is_current = True
        """Whether the file on disk has all of this; a file that was never opened is not replaced."""

    def __enter__(self) -> ScanCache:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_current:
            # A scan must not fail because the next one will be slow.
            with contextlib.suppress(OSError):
                write_whole(self._path, self._packed(), private=True)

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Give the function's result for each item, in order; files must be inspected before studies are checked."""
        return self._inspected(function, items) if function is self._inspect else self._checked(function, items)

    def _inspected(self, function: Callable[[Location], FileFacts], items: Iterable[Location]) -> Iterator[FileFacts]:
        paths = list(items)
        # Before any file is opened: a file that changes from now on has another state in the next scan.
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
        """Give a file's name relative to the archive, quickly: without splitting paths."""
        return str(path)[self._start :]

    def _load(self, states: Mapping[str, FileState | None]) -> None:
        """Take what the file has about unchanged files."""
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
    # In ASCII, because names of files may be invalid Unicode.
    lines.write(json.dumps(line, default=vars).encode("ascii") + b"\n")


def _read(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "outcome": errors.Outcome(*values["outcome"]), "system": System(**values["system"])}


def _states(archive: Location, names: Iterable[str]) -> dict[str, FileState | None]:
    """Give the state of files without opening them; None where there is none."""
    if isinstance(archive, Path):
        return {name: _state_of_file(archive / name) for name in names}
    # One request lists a thousand objects.
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
    """Give a digest of the code that reads: with other code everything is read again."""
    decoders = [version(name) for name in ("pylibjpeg-openjpeg", "pyjpegls")]
    found = hashlib.sha256(f"{__version__} {np.__version__} {decoders}".encode())
    package = Path(__file__).parent.parent
    for module in sorted([*package.glob("archive/**/*.py"), *(package / f"{name}.py" for name in _BELOW)]):
        found.update(module.read_bytes())
    return found.hexdigest()

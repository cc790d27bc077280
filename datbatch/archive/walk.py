"""Find the files of an archive folder of any shape."""

from __future__ import annotations

import os
from collections import Counter

from datbatch.errors import ArchiveError
from datbatch.location import Location, S3Location, names

_HIDDEN = ("thumbs.db", "desktop.ini", "__macosx")


def find_files(archive: Location) -> tuple[tuple[str, ...], Counter[str]]:
    """Walk a folder, or a prefix on S3; one that cannot be read raises ArchiveError.

    Links are followed, but no folder is entered twice, so that loops end; real folders come before linked ones.

    Returns
    -------
    files : tuple of str
        Paths relative to the archive with forward slashes, sorted.
    skipped : Counter
        How many were left out: hidden (a folder counts as one), special (devices, dead links, unreadable folders).
    """
    if isinstance(archive, S3Location):
        return _find_objects(archive)
    skipped: Counter[str] = Counter()
    files: list[str] = []
    entered: set[tuple[int, int]] = set()
    waiting, linked = [""], list[str]()
    while waiting or linked:
        place = waiting.pop() if waiting else linked.pop(0)
        folder = archive / place
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            if not place:
                raise ArchiveError(f"the archive cannot be read as a folder ({type(error).__name__})") from None
            skipped["special"] += 1
            continue
        for entry in entries:
            relative = f"{place}/{entry.name}" if place else entry.name
            if entry.name.startswith(".") or entry.name.lower() in _HIDDEN:
                skipped["hidden"] += 1
            elif _is(entry, "dir"):
                (linked if entry.is_symlink() else waiting).append(relative)
            elif _is(entry, "file"):
                files.append(relative)
            else:
                skipped["special"] += 1
    return tuple(sorted(files)), skipped


def _find_objects(archive: S3Location) -> tuple[tuple[str, ...], Counter[str]]:
    found = names(archive)
    if not found:
        raise ArchiveError("there is no object below the address of the archive")
    hidden = {place for name in found if (place := _hidden_part(name))}
    return tuple(name for name in found if not _hidden_part(name)), Counter(hidden=len(hidden))


def _hidden_part(name: str) -> str:
    """Give the beginning of a name up to its first hidden part; empty where no part is hidden."""
    parts = name.split("/")
    for count, part in enumerate(parts, 1):
        if part.startswith(".") or part.lower() in _HIDDEN:
            return "/".join(parts[:count])
    return ""


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:
        return False

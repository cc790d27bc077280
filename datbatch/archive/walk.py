"""Find the files of an archive folder of any shape."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from datbatch.errors import ArchiveError

_HIDDEN = ("thumbs.db", "desktop.ini", "__macosx")


def find_files(archive: Path) -> tuple[tuple[str, ...], Counter[str]]:
    """Walk a folder.

    Links are followed, but no folder is entered twice, so that loops end; real folders come before linked ones.

    Parameters
    ----------
    archive : Path
        The folder.

    Returns
    -------
    files : tuple of str
        Paths relative to the archive with forward slashes, sorted.
    skipped : Counter
        How many were left out: hidden (folders count as one), special (devices, dead links, unreadable folders).

    Raises
    ------
    ArchiveError
        When the archive is no readable folder.
    """
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


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:
        return False

"""Files that are written as a whole or not at all, and private ones that nobody else may read."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from datbatch.errors import ExposedFileError


def write_whole(path: Path, content: bytes | bytearray, *, private: bool = False) -> Path:
    """Write a file as a whole or not at all; its folder is made.

    Parameters
    ----------
    path : Path
        File to write or replace.
    content : bytes or bytearray
        What it shall hold.
    private : bool
        Whether it is for its owner alone (mode 0600), because it may lead to a person.

    Returns
    -------
    Path
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if not private:
            # mkstemp makes files for the owner alone; a report is as readable as the user's other files.
            mask = os.umask(0)
            os.umask(mask)
            Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def read_private(path: Path) -> bytes:
    """Read a file that may lead to a person, or a key; it must be for its owner alone.

    Raises
    ------
    ExposedFileError
        When its mode lets others read or write it.
    OSError
        When it cannot be read.
    """
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ExposedFileError("a file beside the store that leads to persons can be read by others")
        return stream.read()

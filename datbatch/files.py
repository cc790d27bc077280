"""Files that are written whole or not at all, and private files that only their owner may read."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
import tempfile
from pathlib import Path

from datbatch.errors import ExposedFileError

LEFT_SECONDS = 60.0
"""No writer takes so long: what is older was left by one that was killed."""


def write_whole(path: Path, content: bytes | bytearray, *, private: bool = False) -> Path:
    """Write or replace a file whole or not at all, make its folder, and give its path.

    A `private` file is for its owner alone (mode 0600), because its content can identify a person. What a killed writer
    left of one goes after a minute, with the next writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
            # By the clock of the file system, which may be a server's.
            now = os.fstat(stream.fileno()).st_mtime
        for left in path.parent.glob(f".{glob.escape(path.name)}.*") if private else ():
            with contextlib.suppress(FileNotFoundError):
                if now - left.stat().st_mtime > LEFT_SECONDS:
                    left.unlink()
        if not private:
            # mkstemp makes files for the owner alone; other files get the usual mode.
            mask = os.umask(0)
            os.umask(mask)
            Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def read_private(path: Path) -> bytes:
    """Read a private file, or raise ExposedFileError where its mode lets others read or write it."""
    with path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ExposedFileError("others can read a private file beside the store that can identify persons")
        return stream.read()

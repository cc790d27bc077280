"""Pseudonyms by keyed hash; key and link file stand beside the store, readable by their owner alone."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

from datbatch.archive.manifest import Manifest
from datbatch.errors import ArchiveError
from datbatch.files import read_private, write_whole

KEY_BYTES = 32
FILE_SEPARATOR = "|"
"""Between the files of a study in the linkage table: unlike `;` and `,` it hardly occurs in file names."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_or_create_key(path: Path) -> bytes:
    """Read the key of the pseudonyms; make one where there is none.

    Parameters
    ----------
    path : Path
        Text file of 64 hexadecimal digits, mode 0600.

    Returns
    -------
    bytes
        32 random bytes.

    Raises
    ------
    ArchiveError
        When others may read the file, or it holds no key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _create_key(path)
    try:
        with path.open(encoding="ascii") as stream:
            if os.fstat(stream.fileno()).st_mode & _OTHERS:
                raise ArchiveError(
                    "the key file of the pseudonyms can be read by others", "Give it to its owner alone: chmod 600."
                )
            text = stream.read(1024).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"the key file of the pseudonyms cannot be read ({type(error).__name__})", "Restore it from a backup."
        ) from None
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ArchiveError("the key file of the pseudonyms holds no key", "Restore it from a backup.")
    return bytes.fromhex(text)


def _create_key(path: Path) -> None:
    # A link of the finished file is exclusive and whole: two runs that start at once agree on one key.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        Path(temporary).unlink()


def study_identifier(study_uid: str) -> str:
    """Give what the pseudonym of a study is made from, where its files state a StudyInstanceUID."""
    return f"study {study_uid}"


def pseudonym(key: bytes, identifier: str) -> str:
    """Give a study's pseudonym: `s` and 16 letters or digits (80 bits) of HMAC-SHA256 (RFC 2104)."""
    return "s" + _keyed(key, identifier)


def person_pseudonym(key: bytes, patient_id: str) -> str:
    """Give a person's pseudonym, of the PatientID: `p` and 16 letters or digits like a study's; empty without one."""
    # Of another kind than a study's: no identifier of a study can give it.
    return "p" + _keyed(key, f"person {patient_id}") if patient_id else ""


def key_check(key: bytes) -> str:
    """Give what tells a key from any other, and nothing about it: a keyed hash of what is no identifier."""
    return "k" + _keyed(key, "key")


def _keyed(key: bytes, identifier: str) -> str:
    digest = hmac.new(key, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return base64.b32encode(digest[:10]).decode("ascii").lower()


def write_linkage(path: Path, manifest: Manifest) -> None:
    """Write which pseudonym stands for which files: columns study and files, mode 0600."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("study", "files"))
    table.writerows((entry.pseudonym, FILE_SEPARATOR.join(entry.files)) for entry in manifest.entries)
    write_whole(path, text.getvalue().encode("utf-8", "surrogateescape"), private=True)


def read_linkage(path: Path) -> dict[str, tuple[str, ...]]:
    """Read which files, relative to the archive, each pseudonym stands for.

    Raises
    ------
    ExposedFileError
        When others can read the table.
    """
    text = io.StringIO(read_private(path).decode("utf-8", "surrogateescape"), newline="")
    return {
        row["study"]: tuple(name for name in row["files"].split(FILE_SEPARATOR) if name) for row in csv.DictReader(text)
    }

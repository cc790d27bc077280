"""Pseudonyms by keyed hash; key and link file are beside the store, and only their owner can read them."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import hmac
import io
import os
import re
import secrets
import tempfile
from pathlib import Path

from datbatch.archive.manifest import Manifest
from datbatch.errors import ArchiveError, ExposedFileError
from datbatch.files import read_private, write_whole

KEY_BYTES = 32
FILE_SEPARATOR = "|"
"""Between the files of a study in the linkage table: unlike `;` and `,` it is very rare in file names."""


def load_or_create_key(path: Path) -> bytes:
    """Read the key of the pseudonyms, 32 random bytes; make it where there is none.

    Its file has 64 hexadecimal digits and mode 0600. ArchiveError is raised when others can read it, or it has no key.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _create_key(path)
    try:
        text = read_private(path).decode("ascii").strip()
    except ExposedFileError:
        raise ArchiveError(
            "the key file of the pseudonyms can be read by others", "Give it to its owner alone: chmod 600."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(
            f"the key file of the pseudonyms cannot be read ({type(error).__name__})", "Restore it from a backup."
        ) from None
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ArchiveError("the key file of the pseudonyms holds no key", "Restore it from a backup.")
    return bytes.fromhex(text)


def _create_key(path: Path) -> None:
    # A hard link is made whole and only once: two runs that start at the same time get the same key.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".key-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(key_text(secrets.token_bytes(KEY_BYTES)))
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()


def key_text(key: bytes) -> bytes:
    """Give what the file of a key holds."""
    return f"{key.hex()}\n".encode()


def study_identifier(study_uid: str) -> str:
    """Give the text behind the pseudonym of a study whose files state a StudyInstanceUID."""
    return f"study {study_uid}"


def pseudonym(key: bytes, identifier: str) -> str:
    """Give a study's pseudonym: `s` and 16 letters or digits (80 bits) of HMAC-SHA256 (RFC 2104)."""
    return "s" + _keyed(key, identifier)


def person_pseudonym(key: bytes, patient_id: str) -> str:
    """Give a person's pseudonym: `p` and 16 letters or digits as in a study's; empty without a PatientID."""
    # No identifier of a study begins like this.
    return "p" + _keyed(key, f"person {patient_id}") if patient_id else ""


def key_check(key: bytes) -> str:
    """Give a keyed hash of a fixed text: it distinguishes keys and tells nothing about them."""
    return "k" + _keyed(key, "key")


def _keyed(key: bytes, identifier: str) -> str:
    digest = hmac.new(key, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).digest()
    return base64.b32encode(digest[:10]).decode("ascii").lower()


def write_linkage(path: Path, manifest: Manifest) -> None:
    """Write the files of each pseudonym: columns study and files, mode 0600."""
    write_whole(path, linkage_text(manifest), private=True)


def linkage_text(manifest: Manifest) -> bytes:
    """Give the table as `write_linkage` writes it."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("study", "files"))
    table.writerows((entry.pseudonym, FILE_SEPARATOR.join(entry.files)) for entry in manifest.entries)
    return text.getvalue().encode("utf-8", "surrogateescape")


def read_linkage(path: Path) -> dict[str, tuple[str, ...]]:
    """Read the files of each pseudonym, relative to the archive; ExposedFileError when others can read the table."""
    text = io.StringIO(read_private(path).decode("utf-8", "surrogateescape"), newline="")
    return {
        row["study"]: tuple(name for name in row["files"].split(FILE_SEPARATOR) if name) for row in csv.DictReader(text)
    }

"""Small JSON objects that bear the digest of themselves and of their place: damage shows, and so does an exchange."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from datbatch.config import canonical_json

_BEGIN, _BEHIND = b'{"sha256":"', b'",'
_DIGEST = slice(len(_BEGIN), len(_BEGIN) + 64)
_REST = _DIGEST.stop + len(_BEHIND)


def wrap(place: str, content: Mapping[str, Any]) -> bytes:
    """Write content as a JSON object whose first key, `sha256`, covers all other bytes and the object's place.

    Parameters
    ----------
    place : str
        Path of the object in the store.
    content : mapping
        Of JSON types; not empty.
    """
    rest = canonical_json(content).encode()[1:]
    return _BEGIN + _sha256(place, rest) + _BEHIND + rest


def unwrap(place: str, data: bytes) -> Any:
    """Read an object, without its digest; what was written before objects bore one is read as it is.

    Raises
    ------
    ValueError
        When it is damaged, or belongs to another place.
    """
    if not bears_digest(data):
        return json.loads(data)
    rest = data[_REST:]
    if data[: _DIGEST.start] + data[_DIGEST.stop : _REST] != _BEGIN + _BEHIND or data[_DIGEST] != _sha256(place, rest):
        raise ValueError("the object is not what was written")
    return json.loads(b"{" + rest)


def bears_digest(data: bytes) -> bool:
    """Tell whether an object shows its own damage; a damaged beginning does not pass for one of the time before."""
    return data.startswith(_BEGIN) or re.fullmatch(rb"[0-9a-f]{64}", data[_DIGEST]) is not None


def _sha256(place: str, rest: bytes) -> bytes:
    return hashlib.sha256(place.encode() + b"\n" + rest).hexdigest().encode()

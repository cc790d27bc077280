"""The place of an archive or a store, a folder or a prefix on S3, and the operations that both offer.

Files that can identify persons stay on this machine: a store on S3 has a private folder instead of files beside it.

S3 is reached through obstore (`pip install datbatch[s3]`), with endpoint, region and credentials from the environment
variables of all AWS tools. Only obstore reads them; no message shows them.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from datbatch.errors import ConfigurationError, StorageError
from datbatch.files import write_whole

SCHEME = "s3://"
PRIVATE_FOLDER_VARIABLE = "DATBATCH_PRIVATE"
"""Variable with the folder of the private files of stores on S3; `~/.datbatch` by default."""
RETRY_SECONDS = 180.0
"""How long a request is repeated while the server answers with 5xx, or not at all."""
_REQUEST_SECONDS = 120.0
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, order=True)
class S3Location:
    """An object on S3, or the prefix of many; some methods are those of `Path`."""

    bucket: str = field(repr=False)
    key: str = field(repr=False)
    """Without slashes at its ends."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> S3Location:
        return S3Location(self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return Path(self.name).stem

    def absolute(self) -> S3Location:
        """Give itself: an address is never relative."""
        return self

    def with_name(self, name: str) -> S3Location:
        """Give the address with another last part."""
        folder = self.key.rpartition("/")[0]
        return S3Location(self.bucket, f"{folder}/{name}" if folder else name)

    def is_dir(self) -> bool:
        """Tell whether there is any object below it."""
        return next(iter(_listed(self)), None) is not None

    def is_file(self) -> bool:
        """Tell whether there is such an object."""
        try:
            stamp(self)
        except FileNotFoundError:
            return False
        return True


Location = Path | S3Location


def parse_location(text: str) -> Location:
    """Give the location that a user names, `s3://bucket/prefix` or a path; refuse a wrong address."""
    if "://" not in text:
        return Path(text)
    match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/+(.+?)/*", text)
    parts = match[2].split("/") if match else []
    if match is None or not all(parts) or {".", ".."} & set(parts):
        raise ConfigurationError(
            "the address is neither a path nor one of S3", "Write s3://BUCKET/PREFIX, or the path of a folder."
        )
    return S3Location(match[1], match[2])


def beside(store: Location, suffix: str) -> Path:
    """Give the path of a file or folder of a store outside of it: beside it, or for S3 in its private folder."""
    name = f"{store.stem}.{suffix}"
    return store.with_name(name) if isinstance(store, Path) else private_folder(store) / name


def output_beside(store: Location, suffix: str) -> Path:
    """Give the path of a result for people beside its store; for S3 in the current folder."""
    name = f"{store.stem}.{suffix}"
    return store.with_name(name) if isinstance(store, Path) else Path(name)


def private_folder(store: S3Location) -> Path:
    """Give the folder of the private files of a store on S3; it is made here, for its owner alone (mode 0700)."""
    root = Path(os.environ.get(PRIVATE_FOLDER_VARIABLE, "") or Path.home() / ".datbatch")
    folder = root / f"{store.stem}-{hashlib.sha256(str(store).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@dataclass(frozen=True)
class Stamp:
    """What the server says of one object's state; it changes with every writing."""

    tag: str
    modified: datetime
    """By the server's clock."""


def read(place: Location, *, limit: int | None = None) -> tuple[bytes, int]:
    """Read an object, or its first `limit` bytes; give them, and the size of the whole object.

    Raises
    ------
    FileNotFoundError
        When there is none.
    OSError, StorageError
        When it cannot be read.
    """
    if isinstance(place, Path):
        with place.open("rb") as stream:
            return stream.read(limit if limit is not None else -1), os.fstat(stream.fileno()).st_size
    with _named_failures():
        client = _client(place.bucket)
        if limit is None:
            content = bytes(client.get(place.key).bytes())
            return content, len(content)
        size = int(client.head(place.key)["size"])
        wanted = min(size, limit)
        return (bytes(client.get_range(place.key, start=0, length=wanted)) if wanted else b""), size


def write(place: Location, content: bytes) -> None:
    """Write or replace an object, whole or not at all."""
    if isinstance(place, Path):
        write_whole(place, content)
        return
    with _named_failures(), _bucket_needed():
        _client(place.bucket).put(place.key, content)


def create(place: S3Location, content: bytes, *, instead_of: str | None = None) -> bool:
    """Write an object on S3 only where there is none, or only in place of the one with this tag.

    Returns
    -------
    bool
        Whether this call is known to have written it; it may have, too, where the answer was lost.
    """
    mode: Any = "create" if instead_of is None else {"e_tag": instead_of}
    try:
        with _named_failures(), _bucket_needed():
            _client(place.bucket).put(place.key, content, mode=mode, use_multipart=False)
    except FileExistsError:
        return False
    return True


def stamp(place: S3Location) -> Stamp:
    """Ask the server for an object's state; without such an object FileNotFoundError is raised."""
    with _named_failures():
        return _stamp(_client(place.bucket).head(place.key))


def remove(place: Location) -> None:
    """Remove an object, if there is one."""
    if isinstance(place, Path):
        place.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError), _named_failures():
        _client(place.bucket).delete(place.key)


def names(place: Location) -> list[str]:
    """List the objects below a location at any depth, relative to it and sorted."""
    if isinstance(place, Path):
        return sorted(p.relative_to(place).as_posix() for p in place.rglob("*") if not p.is_dir())
    return sorted(name for name, _ in _listed(place))


def listing(place: S3Location) -> dict[str, tuple[int, Stamp]]:
    """Give size and state of each object below a location, by its name relative to it."""
    return {name: (int(found["size"]), _stamp(found)) for name, found in _listed(place)}


def _stamp(found: Any) -> Stamp:
    return Stamp(str(found["e_tag"]), found["last_modified"])


def failure_of_storage(error: BaseException) -> StorageError | None:
    """Give the named error for one of obstore, without its message: it holds addresses. None for any other error."""
    if type(error).__module__.partition(".")[0] != "obstore":
        return None
    return StorageError(f"the object store refused or did not answer ({type(error).__name__.removesuffix('Error')})")


def object_store(place: S3Location) -> Any:
    """Give obstore's own client of a prefix, for libraries that take one."""
    return _client(place.bucket, place.key)


def _listed(place: S3Location) -> Iterator[tuple[str, Any]]:
    """Give each object below a location: its name relative to it, and what the server says of it."""
    # A prefix ends at a slash: another name that begins with the same letters is not below it.
    start = f"{place.key}/" if place.key else ""
    with _named_failures():
        for page in _client(place.bucket).list(prefix=place.key):
            for found in page:
                path = str(found["path"])
                if path.startswith(start) and len(path) > len(start):
                    yield path[len(start) :], found


@contextmanager
def _bucket_needed() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise StorageError("there is no such bucket", "Make it, or correct the address.") from None


@contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        # The library's own message holds the address.
        raise FileNotFoundError("no such object") from None
    except Exception as error:
        if type(error).__name__ in ("AlreadyExistsError", "PreconditionError"):
            raise FileExistsError("another object is there") from None
        failure = failure_of_storage(error)
        if failure is not None:
            raise failure from None
        raise


@functools.lru_cache(maxsize=64)
def _client(bucket: str, prefix: str | None = None) -> Any:
    try:
        from obstore.store import S3Store
    except ImportError:
        raise StorageError("a location on S3 needs the package obstore", "Call `pip install datbatch[s3]`.") from None
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
    options: Any = {"timeout": timedelta(seconds=_REQUEST_SECONDS)}
    if endpoint and urlsplit(endpoint).scheme == "http":
        # Without encryption over a network only where the user allows it by the variable that obstore reads itself.
        if urlsplit(endpoint).hostname in _LOOPBACK:
            options["allow_http"] = True
        elif os.environ.get("AWS_ALLOW_HTTP", "").lower() not in ("1", "true"):
            raise StorageError(
                "the endpoint has no TLS and is not on this machine",
                "Give one that begins with https://, or set AWS_ALLOW_HTTP=true where the network is trusted.",
            )
    backoff: Any = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2}
    with _named_failures():
        return S3Store(
            bucket,
            prefix=prefix,
            client_options=options,
            retry_config={"max_retries": 20, "retry_timeout": timedelta(seconds=RETRY_SECONDS), "backoff": backoff},
        )

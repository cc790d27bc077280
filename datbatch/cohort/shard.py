"""One granule's volumes, encoded one by one as they come and written together: the bytes that zarr would write.

Zarr encodes a shard from all its volumes at once and joins the encoded ones: nearly three times a granule's size in
memory, where this takes the encoded ones' alone, and 1.7 times as long (`benchmarks/throughput.py`).
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.storage import ObjectStore

from datbatch import location
from datbatch.errors import CorruptStoreError, GridMismatchError, StoreError
from datbatch.location import Location

_ABSENT = np.iinfo(np.uint64).max
"""Offset and size of a chunk that is not there (Zarr's sharding codec, version 1.0)."""


class Shard:
    """The shard of one granule, while its volumes come in.

    Parameters
    ----------
    array : zarr.Array
        Of dimensions (study, x, y, z), one chunk a study, one shard a granule, as `layout.create_volumes` makes it.
    place : Path or S3Location
        Of the array.
    granule : int
        Number of the shard.

    Raises
    ------
    StoreError
        When the array is laid out otherwise.
    """

    def __init__(self, array: Any, place: Location, granule: int) -> None:
        self._shape: tuple[int, ...] = tuple(array.shape[1:])
        self._blosc = _compressor(array)
        self._place = place / array.metadata.encode_chunk_key((granule, *(0 for _ in self._shape)))
        self._chunks: list[tuple[bytes, ...]] = [()] * array.shards[0]

    def add(self, index: int, volume: npt.NDArray[np.float32]) -> str:
        """Take the volume of the granule's study `index`; one that is NaN throughout is left out.

        Parameters
        ----------
        index : int
            Position in the granule.
        volume : ndarray, shape (x, y, z), float32
            The volume.

        Returns
        -------
        str
            SHA-256 of its bytes, empty where it is NaN throughout.

        Raises
        ------
        GridMismatchError
            When the volume is of another shape or type.
        """
        if volume.shape != self._shape or volume.dtype != np.float32:
            given = f"{volume.shape} and {volume.dtype}"
            raise GridMismatchError(f"a volume has shape {self._shape} and type float32, not {given}")
        sha256 = volume_sha256(volume)
        if sha256:
            encoded = self._blosc.encode(np.ascontiguousarray(volume, dtype="<f4"))
            self._chunks[index] = (encoded, _checksum(encoded))
        return sha256

    def write(self) -> None:
        """Write the shard whole or not at all; one without volumes takes no file."""
        sizes = np.array([sum(map(len, chunk)) for chunk in self._chunks], dtype=np.uint64)
        if not sizes.any():
            location.remove(self._place)
            return
        offsets = np.cumsum(sizes) - sizes
        places = np.where(sizes[:, None], np.stack([offsets, sizes], axis=1), _ABSENT)
        index = places.astype("<u8").tobytes()
        _write_pieces(self._place, [*itertools.chain(*self._chunks), index, _checksum(index)])


class VolumeReader:
    """Reads one study's volume at a time, by basic indexing (fancy indexing of shards is eight times slower).

    Can be pickled and used from several threads.

    Parameters
    ----------
    path : Path or S3Location
        The store.
    name : str
        Path of an array of dimensions (study, x, y, z).
    """

    def __init__(self, path: Location, name: str) -> None:
        self._path, self._name = path, name
        try:
            self._array: Any = open_array(zarr_store(path), name)
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise StoreError(f"the store has no array {name}") from error
        self.shape: tuple[int, ...] = tuple(self._array.shape[1:])

    def __reduce__(self) -> tuple[type[VolumeReader], tuple[Location, str]]:
        return type(self), (self._path, self._name)

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        """Read study `index`, shape (x, y, z); NaN throughout where there is no result.

        Raises
        ------
        CorruptStoreError
            When the stored bytes fail their checksum.
        """
        try:
            return np.asarray(self._array[index], dtype=np.float32)
        except IndexError:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            raise CorruptStoreError(f"study {index} of {self._name} cannot be read: {type(error).__name__}") from error


def zarr_store(path: Location, *, read_only: bool = False) -> Any:
    """Give what zarr and xarray open as a store."""
    return path if isinstance(path, Path) else ObjectStore(location.object_store(path), read_only=read_only)


def open_array(place: Any, node: str) -> zarr.Array[Any]:
    """Open an array to read it."""
    return zarr.open_array(place, path=node, mode="r", zarr_format=3)


def read_whole(array: zarr.Array[Any]) -> npt.NDArray[Any]:
    """Read a whole column or image; texts as an array of str objects."""
    values = np.asarray(array[...])
    return values.astype(object) if values.dtype.kind in "TO" else values


def volume_sha256(values: npt.NDArray[np.float32]) -> str:
    """Hash a volume's bytes (C order, little endian); empty where the volume is NaN throughout."""
    # Looking at all voxels of a volume that has a result would take as long as hashing it.
    if np.isnan(values.flat[0]) and np.isnan(values).all():
        return ""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").data).hexdigest()


def _compressor(array: Any) -> Blosc:
    match array.metadata.codecs:
        case (
            ShardingCodec(
                codecs=(BytesCodec(), BloscCodec() as blosc, Crc32cCodec()), index_codecs=(BytesCodec(), Crc32cCodec())
            ),
        ) if array.chunks == (1, *array.shape[1:]) and array.shards[1:] == array.shape[1:]:
            # As the store's metadata name them, whatever types zarr keeps them in.
            given: Any = blosc.to_dict()["configuration"]
            return Blosc(given["cname"], given["clevel"], getattr(Blosc, given["shuffle"].upper()), given["blocksize"])
    raise StoreError("volumes are encoded in the store in another way than this version of datbatch writes")


def _checksum(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(4, "little")


def _write_pieces(place: Location, pieces: Sequence[bytes]) -> None:
    if not isinstance(place, Path):
        location.write(place, b"".join(pieces))
        return
    # Not `files.write_whole`, which waits until tens of megabytes are on the disk: what a power cut takes of a shard,
    # `verify` finds by the ledger's digests.
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
    try:
        with temporary.open("wb") as stream:
            stream.writelines(pieces)
        temporary.replace(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

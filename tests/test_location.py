"""Where archives and stores lie: addresses, what stays private, and an S3 server that fails."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datbatch import location
from datbatch.archive.walk import find_files
from datbatch.cohort.ledger import GranuleKey, Ledger, Row
from datbatch.cohort.store import Store, key_path
from datbatch.errors import DONE, ConfigurationError, StorageError
from datbatch.location import S3Location, parse_location
from tests.s3_server import SECRET_KEY, environment, failing_proxy


def test_an_address_is_no_path_and_a_path_is_no_address() -> None:
    assert parse_location("s3://bucket/a/b.zarr/") == S3Location("bucket", "a/b.zarr")
    assert str(parse_location("s3://bucket/a/b.zarr")) == "s3://bucket/a/b.zarr"
    assert parse_location("s3/b.zarr") == Path("s3/b.zarr")
    for wrong in ("s3://bucket", "s3://bucket/", "s3://bucket/a/../b", "s3://bucket/a//b", "gs://bucket/a", "s3://B/a"):
        with pytest.raises(ConfigurationError):
            parse_location(wrong)


def test_what_leads_to_persons_stays_on_this_machine_and_is_its_owners_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DATBATCH_PRIVATE", str(tmp_path / "private"))
    one, other = key_path(S3Location("bucket", "a/c.zarr")), key_path(S3Location("bucket", "b/c.zarr"))
    assert one != other
    assert one.is_relative_to(tmp_path / "private")
    assert stat.S_IMODE(one.parent.stat().st_mode) == 0o700
    assert key_path(tmp_path / "c.zarr") == tmp_path / "c.key"


def test_an_endpoint_without_tls_is_refused_unless_it_is_this_machine_or_allowed(monkeypatch) -> None:
    for name, value in environment("http://storage.example").items():
        monkeypatch.setenv(name, value)
    location._client.cache_clear()
    with pytest.raises(StorageError, match="TLS"):
        location.names(S3Location("bucket", "a"))
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert location.object_store(S3Location("bucket", "a"))
    location._client.cache_clear()


def test_of_many_creators_one_creates(s3) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda n: location.create(s3 / "x", str(n).encode()), range(64)))
    assert sum(made) == 1
    assert location.read(s3 / "x")[0] == str(made.index(True)).encode()


def test_objects_are_listed_like_files(place) -> None:
    for name in ("b/x.dcm", "a/y.dcm", "a/.z/u", "a/.z/v", "Thumbs.db", "b.dcm"):
        location.write(place / "archive" / name, b"x")
    location.write(place / "archive2", b"x")
    files, skipped = find_files(place / "archive")
    assert files == ("a/y.dcm", "b.dcm", "b/x.dcm")
    assert skipped == {"hidden": 2}


def test_a_server_that_fails_and_dawdles_loses_and_doubles_nothing(s3, s3_endpoint, monkeypatch) -> None:
    def fault(number: int) -> tuple[int, float]:
        return (0, 0.02) if number % 7 else ((500, 503)[number % 2], 0.0)

    keys = [GranuleKey("quantify", "d", number, "m") for number in range(12)]
    with failing_proxy(s3_endpoint, fault) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        location._client.cache_clear()
        store, ledger = Store.create(s3 / "c.zarr", granule_studies=2), Ledger(s3 / "c.zarr")
        store.grow(["sa", "sb"])
        for key in keys:
            ledger.commit(key, [Row(f"s{key.granule}", DONE)])
            assert not ledger.commit(key, [Row("another", DONE)])
        assert [row.study for row in ledger.rows(keys)] == [f"s{number}" for number in range(12)]
    location._client.cache_clear()


def test_a_refusal_is_named_without_address_and_key(s3, monkeypatch) -> None:
    location.write(s3 / "x", b"x")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    location._client.cache_clear()
    with pytest.raises(StorageError) as caught:
        location.read(s3 / "x")
    said = str(caught.value)
    assert "PermissionDenied" in said
    assert not any(secret in said for secret in (SECRET_KEY, "127.0.0.1", s3.bucket, "nobody"))
    assert caught.value.__suppress_context__
    location._client.cache_clear()

"""Pseudonyms are keyed; key and link are for their owner's eyes."""

import csv
import hashlib
import hmac
import re
import stat
from pathlib import Path

import pytest

from datbatch.archive import Entry, Manifest, load_or_create_key, pseudonym, read_linkage, write_linkage
from datbatch.errors import ArchiveError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_and_kept_from_others(tmp_path) -> None:
    path = tmp_path / "store.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert mode(path) == 0o600
    assert load_or_create_key(path) == key
    assert load_or_create_key(tmp_path / "other.key") != key
    assert {each.name for each in tmp_path.iterdir()} == {"store.key", "other.key"}


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o644])
def test_a_key_that_others_can_read_is_refused(bits, tmp_path) -> None:
    path = tmp_path / "key"
    load_or_create_key(path)
    path.chmod(bits)
    with pytest.raises(ArchiveError, match="by others"):
        load_or_create_key(path)


@pytest.mark.parametrize("text", ["", "key", "00" * 31, "zz" * 32, "é"])
def test_a_file_without_a_key_is_refused_and_not_replaced(text, tmp_path) -> None:
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ArchiveError):
        load_or_create_key(path)
    assert path.read_text(encoding="utf-8") == text


def test_pseudonyms_depend_on_key_and_study_and_cannot_be_made_without_the_key() -> None:
    one = pseudonym(b"a" * 32, "1.2.3")
    assert re.fullmatch("s[a-z2-7]{16}", one)
    assert one == pseudonym(b"a" * 32, "1.2.3")
    assert len({one, pseudonym(b"b" * 32, "1.2.3"), pseudonym(b"a" * 32, "1.2.4")}) == 3
    # RFC 2104 by hand: the first ten bytes of the keyed hash, five bits a letter.
    number = int.from_bytes(hmac.digest(b"a" * 32, b"1.2.3", hashlib.sha256)[:10], "big")
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    assert one == "s" + "".join(letters[(number >> (75 - 5 * k)) & 31] for k in range(16))


def test_the_link_file_names_each_study_once_and_is_replaced_whole(tmp_path) -> None:
    path = tmp_path / "cohort.linkage.csv"
    entries = (Entry("s1", ("a/x.dcm", 'b "quoted"; c.dcm'), ""), Entry("s2", (), ""))
    for number in (1, 2):
        write_linkage(path, Manifest(entries[:number], 3, {}))
    assert mode(path) == 0o600
    with path.open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert rows == [{"study": "s1", "files": 'a/x.dcm|b "quoted"; c.dcm'}, {"study": "s2", "files": ""}]
    assert read_linkage(path) == {entry.pseudonym: entry.files for entry in entries}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]

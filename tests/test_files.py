"""Private files are for their owner alone, when they are written and when they are read."""

import os

import pytest

from datbatch.errors import ExposedFileError
from datbatch.files import read_private, write_whole


def test_a_private_file_is_written_for_its_owner_alone_and_read_back(tmp_path) -> None:
    path = write_whole(tmp_path / "linkage.csv", b"study,files\n", private=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_private(path) == b"study,files\n"


@pytest.mark.parametrize("bits", [0o040, 0o004, 0o020, 0o002])
def test_a_private_file_that_others_could_open_is_refused(bits, tmp_path) -> None:
    path = write_whole(tmp_path / "linkage.csv", b"study,files\n", private=True)
    path.chmod(0o600 | bits)
    with pytest.raises(ExposedFileError, match="others"):
        read_private(path)


def test_what_a_killed_writer_left_of_a_private_file_goes_with_the_next_one(tmp_path) -> None:
    old, young = (tmp_path / f".cohort.linkage.csv.{name}" for name in ("old", "young"))
    for left in (old, young):
        left.write_bytes(b"names")
    os.utime(old, (0, 0))
    write_whole(tmp_path / "cohort.linkage.csv", b"names", private=True)
    assert [old.exists(), young.exists()] == [False, True]

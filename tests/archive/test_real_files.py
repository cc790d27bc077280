"""Files by others, none of which is a raw tomographic acquisition: each is refused as its description says."""

import tracemalloc
from pathlib import Path

import pytest

from datbatch import errors
from datbatch.archive import inspect_file, read_study, scan_archive

STRUCTURE = {errors.TruncatedError, errors.UnreadableDicomError, errors.NotDicomError}
KIND = {errors.WrongModalityError, errors.NotProjectionsError}

EXPECTED: dict[str, set[type[errors.DatbatchError]]] = {
    "nm/*": {errors.NotProjectionsError},
    "other/*": {errors.WrongModalityError},
    "fuzz/*": STRUCTURE | KIND,
    "fuzz/TC0345*": STRUCTURE,
    "fuzz/TC0347*": STRUCTURE,
    "fuzz/TC0441*": KIND,
    "fuzz/TC0967*": {errors.TruncatedError},
    "fuzz/TC0969*": {errors.TruncatedError},
    "fuzz/TC0401*": {errors.UnreadableDicomError},
    "broken/*": STRUCTURE | KIND,
    "broken/mr_truncated*": {errors.TruncatedError},
    "broken/rtplan_truncated*": {errors.TruncatedError},
    "broken/mr_padded*": {errors.WrongModalityError},
    "broken/bad_vr*": {errors.WrongModalityError, errors.UnreadableDicomError},
    "broken/huge_declared*": {errors.TruncatedError, errors.WrongModalityError},
    "broken/jpeg2000_embedded*": {errors.NotProjectionsError},
    "broken/meta_missing_tsyntax*": {errors.UnreadableDicomError},
    "broken/no_meta.dcm": {errors.NotDicomError},
    "broken/expl*": {errors.NotDicomError},
}


def expected(path: Path) -> set[type[errors.DatbatchError]]:
    return next(kinds for pattern, kinds in reversed(EXPECTED.items()) if path.match(pattern))


def test_each_file_is_refused_by_the_right_name_in_bounded_memory(test_data) -> None:
    files = sorted(
        path for path in (test_data / "dicom").glob("*/*") if path.parent.name in ("nm", "other", "fuzz", "broken")
    )
    assert len(files) == 103
    wrong = {}
    for path in files:
        tracemalloc.start()
        facts = inspect_file(path)
        with pytest.raises(errors.DatbatchError) as caught:
            read_study(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert caught.value.code == facts.outcome.code
        assert peak < 4_000_000 + 4 * path.stat().st_size
        if type(caught.value) not in expected(path):
            wrong[path.name] = caught.value.code
    assert wrong == {}


def test_reconstructed_slices_that_count_like_projections_are_told_apart(test_data) -> None:
    with pytest.raises(errors.NotProjectionsError, match="reconstructed slices"):
        read_study(test_data / "dicom" / "nm" / "mediso_recon_tomo_cor.dcm")


def test_an_archive_of_them_holds_no_study(test_data) -> None:
    manifest = scan_archive(test_data / "dicom", key=bytes(32))
    assert {entry.outcome.status for entry in manifest.entries} == {"failed"}
    assert {entry.outcome.code for entry in manifest.entries} <= {kind.code for kind in STRUCTURE | KIND}

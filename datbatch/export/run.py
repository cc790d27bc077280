"""Export of many studies, one after the other: each file is whole, and an error in one study does not end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import xarray

from datbatch.cohort.views.results import ResultsReader, StudyResults, positions
from datbatch.errors import DatbatchError
from datbatch.progress import Progress


@dataclass(frozen=True)
class Format:
    """How the files of one study are named and written."""

    names: Callable[[str, str | None], tuple[str, ...]]
    """From pseudonym and model (None where none explained the study) to its files, below the export's folder."""
    write: Callable[[StudyResults, Path], None]
    """Writes these files below the given folder."""


@dataclass(frozen=True)
class Exported:
    """What an export did."""

    folder: Path
    studies: int
    """Studies asked for."""
    written: int
    """Studies whose files were written now."""
    kept: int
    """Studies whose files were there already and left as they are."""
    failed: Mapping[str, str]
    """Why a study has no files, by pseudonym: code of the error."""


class Which(TypedDict, total=False):
    """What every export of single studies takes."""

    studies: Sequence[str] | None
    """Pseudonyms; all by default."""
    model: str | None
    """Whose relevance; that of the model made last by default."""
    missing_only: bool
    """Whether to leave studies whose files are all there, as after an interruption."""
    quiet: bool
    """Whether to show no progress."""


def export_studies(
    cohort: xarray.DataTree,
    folder: Path,
    how: Format,
    *,
    studies: Sequence[str] | None = None,
    model: str | None = None,
    missing_only: bool = False,
    quiet: bool = False,
) -> Exported:
    """Write the files of processed studies; see `Which` for the choice of studies.

    Raises
    ------
    ModelError
        When the named model is not in the store.
    StoreError
        When a named study is not in the store or was not processed to the end.
    """
    reader, chosen = ResultsReader(cohort, model), positions(cohort, studies)
    progress = Progress("export", len(chosen), quiet=quiet)
    written, failed = 0, {}
    for index in chosen:
        study = reader.study(index)
        names = how.names(study, reader.model(index))
        if not (missing_only and all((folder / name).is_file() for name in names)):
            try:
                how.write(reader[index], folder)
                written += 1
            except DatbatchError as error:
                failed[study] = error.code
        progress.advance(failed=int(study in failed))
    progress.close()
    return Exported(folder, len(chosen), written, len(chosen) - written - len(failed), failed)

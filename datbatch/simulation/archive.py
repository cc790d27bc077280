"""An archive of many simulated studies, its participants' table, and the truth beside it.

Layout: `<institution>/<NAME_GIVEN_ID_DATE>/NM_TOMO.dcm`; the paths identify a person, as in real exports. The pipeline
never reads the truth, `<archive>.truth.csv` beside the archive.
"""

from __future__ import annotations

import csv
import io
import itertools
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from datbatch.errors import ArchiveError
from datbatch.files import write_whole
from datbatch.schema import NEGATIVE, POSITIVE, READS
from datbatch.simulation.defects import Defect, defect_of, one_head, write_defective
from datbatch.simulation.examination import acquire, truth_of
from datbatch.simulation.nuclear_medicine import StudyHeader, study_header, write_study
from datbatch.simulation.phantom import SIDES
from datbatch.simulation.population import Subject, draw_subject
from datbatch.simulation.readers import ATYPICAL, consensus, draw_reads
from datbatch.simulation.sites import Site, site_named

OTHER_DEFECTS = ("", "label-contradictory", "label-missing", "other-indication", "one-head", "duplicate")
"""Defects of the table, the system, or of a study that is there twice: its file is written like any other."""

CANARY_SEPARATOR = "|"


@dataclass(frozen=True)
class DrawnStudy:
    """Everything about study number `index` of an archive but its images."""

    index: int
    seed: int
    subject: Subject
    """For a duplicate, the subject of the study before."""
    site: Site
    """With the convention of this study."""
    header: StudyHeader
    defect: Defect | None
    path: PurePosixPath
    """Its folder, relative to the archive."""

    @property
    def defect_name(self) -> str:
        """Name of its defect; empty where it has none."""
        return self.defect.name if self.defect else ""


def draw_study(index: int, *, seed: int = 0, defects: bool = True) -> DrawnStudy:
    """Draw study number `index`: a function of `seed`, `defects` and `index` alone."""
    defect = defect_of(index) if defects else None
    name = defect.name if defect else ""
    subject = draw_subject(index - 1 if name == "duplicate" else index, seed)
    site = site_named(subject.site)
    header = study_header(subject, site)
    folder = header.identity.folder_name
    if name == "one-head":
        site = one_head(site)
    if name == "duplicate":
        header = replace(header, key=(seed, index))
        folder += "_2"
    path = PurePosixPath(site.institution.replace(" ", "_"), folder)
    return DrawnStudy(index, seed, subject, site, header, defect, path)


def simulate_archive(
    archive: Path,
    studies: int,
    *,
    seed: int = 0,
    defects: bool = True,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make an archive of raw DICOM projections with known truth, or complete one.

    Parameters
    ----------
    archive : Path
        Folder, made if needed. Studies that exist are not changed; more can be added later.
    studies : int
        Number of studies, from number 0 on.
    seed : int, optional
        Study k depends on `seed`, `defects` and k alone.
    defects : bool, optional
        Whether 15 of each 64 studies have a defect.
    workers : int, optional
        Processes that simulate at the same time; the files do not depend on it.
    progress : callable, optional
        Called after each study with the number of studies that exist, and of all.

    Raises
    ------
    ArchiveError
        When the archive was simulated with another seed or other defects, or `studies` or `workers` is not positive.
    """
    if studies < 1 or workers < 1:
        raise ArchiveError("an archive needs at least one study and one worker", "Give positive numbers.")
    archive.mkdir(parents=True, exist_ok=True)
    known = _known_studies(archive, seed, defects)
    drawn = [draw_study(index, seed=seed, defects=defects) for index in range(max(studies, known))]
    reads = [_table_reads(study) for study in drawn]
    _write_table(truth_path(archive), (_truth_row(s, defects, r) for s, r in zip(drawn, reads, strict=True)))
    _write_table(archive / "participants.csv", (_participant(s, r) for s, r in zip(drawn, reads, strict=True)))
    waiting = [study.index for study in drawn[:studies] if not (archive / study.path).is_dir()]
    written = itertools.chain([None], _each(archive, waiting, seed, defects, workers))
    for done, _ in enumerate(written, studies - len(waiting)):
        if progress is not None:
            progress(done, studies)


def truth_path(archive: Path) -> Path:
    """Give the path of an archive's truth: beside it, not in it."""
    return archive.with_name(f"{archive.name}.truth.csv")


def read_truth(archive: Path) -> list[dict[str, str]]:
    """Read the truth of a simulated archive: one row per study, by number.

    Raises
    ------
    ArchiveError
        When there is no truth beside the archive.
    """
    try:
        with truth_path(archive).open(newline="", encoding="utf-8") as table:
            return list(csv.DictReader(table))
    except FileNotFoundError as error:
        raise ArchiveError("there is no table of truth beside the archive") from error


def identity_canaries(archive: Path) -> list[str]:
    """Give every name, identifier, birth date, institution and folder name that must not leave a simulated archive."""
    return sorted({canary for row in read_truth(archive) for canary in row["canaries"].split(CANARY_SEPARATOR)})


def write_drawn(archive: Path, drawn: DrawnStudy) -> None:
    """Simulate one study and put its folder into the archive, whole or not at all."""
    target = archive / drawn.path
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    study = acquire(drawn.subject, drawn.site)
    if drawn.defect_name in OTHER_DEFECTS:
        write_study(partial, study, drawn.header)
    else:
        write_defective(partial, study, drawn.header, drawn.defect_name)
    partial.rename(target)


def _each(archive: Path, indices: list[int], seed: int, defects: bool, workers: int) -> Iterable[None]:
    """Write the studies; yield after each."""
    if workers == 1 or len(indices) < 2:
        for index in indices:
            _write_index(archive, index, seed, defects)
            yield
        return
    # Spawned, not forked: the caller may have threads (of a scheduler, or of numba).
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(indices)), mp_context=context) as pool:
        futures = [pool.submit(_write_index, archive, index, seed, defects) for index in indices]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _write_index(archive: Path, index: int, seed: int, defects: bool) -> None:
    write_drawn(archive, draw_study(index, seed=seed, defects=defects))


def _known_studies(archive: Path, seed: int, defects: bool) -> int:
    """Give the number of studies that the archive already has; refuse another seed or other defects."""
    if not truth_path(archive).exists():
        return 0
    rows = read_truth(archive)
    if rows and (rows[0].get("seed"), rows[0].get("defects")) != (str(seed), str(int(defects))):
        raise ArchiveError(
            "the archive was simulated with another seed or with other defects",
            "Give another folder, or the seed that was used before.",
        )
    return len(rows)


def _table_reads(drawn: DrawnStudy) -> dict[str, str]:
    """Give the reads as the participants' table states them."""
    return dict.fromkeys(READS, "") if drawn.defect_name == "label-missing" else draw_reads(drawn.subject)


def _participant(drawn: DrawnStudy, reads: dict[str, str]) -> dict[str, str]:
    label = ""
    if drawn.defect_name == "label-contradictory":
        label = NEGATIVE if consensus(reads) == POSITIVE else POSITIVE
    elif drawn.index % 2 == 0 and consensus(reads) in (NEGATIVE, POSITIVE):
        label = consensus(reads)
    return {
        "path": drawn.path.as_posix(),
        "site": drawn.site.name,
        "sex": drawn.subject.sex,
        "age": f"{drawn.subject.age_years:.1f}",
        "indication": "other" if drawn.defect_name == "other-indication" else "CUPS",
        **reads,
        "label": label,
    }


def _truth_row(drawn: DrawnStudy, defects: bool, reads: dict[str, str]) -> dict[str, str]:
    subject, truth = drawn.subject, truth_of(drawn.subject)
    person, agreed = drawn.header.identity, consensus(reads)
    expected = drawn.defect.code if drawn.defect else ATYPICAL if agreed == ATYPICAL else ""
    row: dict[str, object] = {
        "index": drawn.index,
        "seed": drawn.seed,
        "defects": int(defects),
        "study_instance_uid": drawn.header.study_uid,
        "path": drawn.path.as_posix(),
        "site": drawn.site.name,
        "sex": subject.sex,
        "age": f"{subject.age_years:.1f}",
        "defect": drawn.defect_name,
        "expected_code": expected,
        "label": truth.label,
        "consensus": agreed,
        "severity": f"{subject.severity:.6f}",
        "asymmetry": f"{subject.asymmetry:.6f}",
        "atypical": subject.atypical,
        "side": truth.side,
        "cut": subject.cut,
        "expected_counts": f"{subject.expected_counts:.0f}",
    }
    for side in SIDES:
        binding = truth.binding[side]
        row[f"putamen_{side}"] = f"{binding.putamen(side):.6f}"
        row[f"putamen_anterior_{side}"] = f"{binding.putamen_anterior:.6f}"
        row[f"putamen_posterior_{side}"] = f"{binding.putamen_posterior:.6f}"
        row[f"caudate_{side}"] = f"{binding.caudate:.6f}"
    for (line, column), value in np.ndenumerate(truth.template_to_study):
        row[f"template_to_study_{line}{column}"] = f"{value:.9f}"
    canaries = (
        person.family_name,
        person.given_name,
        person.patient_id,
        person.birth_date,
        person.accession_number,
        person.referring_physician,
        drawn.header.institution,
        *drawn.path.parts,
        drawn.header.study_uid,
    )
    row["canaries"] = CANARY_SEPARATOR.join(canaries)
    return {name: str(value) for name, value in row.items()}


def _write_table(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write a CSV file, whole or not at all."""
    listed = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    write_whole(path, text.getvalue().encode())

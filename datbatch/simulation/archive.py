"""An archive of many simulated studies, its participants' table, and the truth beside it.

Layout: `<institution>/<NAME_GIVEN_ID_DATE>/NM_TOMO.dcm`, as identifying as real exports are. What the pipeline reads is
in the archive; `<archive>.truth.csv` stands beside it and is never read by the pipeline.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from datbatch.errors import ArchiveError
from datbatch.files import write_whole
from datbatch.schema import NEGATIVE, POSITIVE, READS
from datbatch.simulation.defects import Defect, defect_of, one_head, write_defective
from datbatch.simulation.nuclear_medicine import StudyHeader, study_header, write_study
from datbatch.simulation.phantom import SIDES
from datbatch.simulation.population import Subject, draw_subject
from datbatch.simulation.readers import ATYPICAL, consensus, draw_reads
from datbatch.simulation.sites import Site, site_named
from datbatch.simulation.study import acquire, truth_of

FILE_DEFECTS = frozenset(
    {
        "truncated",
        "reconstructed",
        "angles-missing",
        "not-dicom",
        "geometry-contradictory",
        "other-modality",
        "views-missing",
        "photopeak-missing",
        "static",
        "counts-zero",
    }
)
"""Defects of the files; the others are in the table, in the system, or in the study's being there twice."""

CANARY_SEPARATOR = "|"


@dataclass(frozen=True)
class PlannedStudy:
    """What study number `index` of an archive will be; needs no imaging.

    Attributes
    ----------
    index, seed : int
        Number of the study and seed of the archive.
    subject : Subject
        Who is examined: for a duplicate, the subject of the study before.
    site : Site
        Where, with the convention that is used for this study.
    header : StudyHeader
        Identity and identifiers.
    defect : Defect or None
        What is wrong with it.
    path : PurePosixPath
        Its folder, relative to the archive.
    """

    index: int
    seed: int
    subject: Subject
    site: Site
    header: StudyHeader
    defect: Defect | None
    path: PurePosixPath

    @property
    def defect_name(self) -> str:
        """Name of what is wrong with it; empty when nothing is."""
        return self.defect.name if self.defect is not None else ""


def plan_study(index: int, *, seed: int = 0, defects: bool = True) -> PlannedStudy:
    """Say what study number `index` will be: a function of `seed`, `defects` and `index` alone."""
    defect = defect_of(index) if defects else None
    name = defect.name if defect is not None else ""
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
    return PlannedStudy(index, seed, subject, site, header, defect, path)


def simulate_archive(
    archive: Path,
    studies: int,
    *,
    seed: int = 0,
    defects: bool = True,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make an archive of raw DICOM projections with known truth, or the rest of one that was begun.

    Parameters
    ----------
    archive : Path
        Folder, made if needed. Studies that are there already are left as they are; more can be added later.
    studies : int
        Number of studies, from number 0 on.
    seed : int, optional
        Study k depends on `seed`, `defects` and k alone.
    defects : bool, optional
        Whether 15 of each 64 studies have something wrong with them.
    workers : int, optional
        Processes that simulate side by side; the files do not depend on it.
    progress : callable, optional
        Called with the number of studies that are there and the number wanted, after each.

    Raises
    ------
    ArchiveError
        When the archive was simulated with another seed or other defects, or `studies` or `workers` is not positive.
    """
    if studies < 1 or workers < 1:
        raise ArchiveError("an archive needs at least one study and one worker", "Give positive numbers.")
    archive.mkdir(parents=True, exist_ok=True)
    known = _known_studies(archive, seed, defects)
    plans = [plan_study(index, seed=seed, defects=defects) for index in range(max(studies, known))]
    reads = [_table_reads(plan) for plan in plans]
    _write_table(truth_path(archive), (_truth_row(p, defects, r) for p, r in zip(plans, reads, strict=True)))
    _write_table(archive / "participants.csv", (_participant(p, r) for p, r in zip(plans, reads, strict=True)))
    waiting = [plan.index for plan in plans[:studies] if not (archive / plan.path).is_dir()]
    done = studies - len(waiting)
    if progress is not None:
        progress(done, studies)
    for _ in _each(archive, waiting, seed, defects, workers):
        done += 1
        if progress is not None:
            progress(done, studies)


def truth_path(archive: Path) -> Path:
    """Give where an archive's truth stands: beside it, not in it."""
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
    canaries = {canary for row in read_truth(archive) for canary in row["canaries"].split(CANARY_SEPARATOR)}
    return sorted(canaries)


def write_planned(archive: Path, plan: PlannedStudy) -> None:
    """Simulate one study and put its folder, whole or not at all, into the archive."""
    target = archive / plan.path
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    study = acquire(plan.subject, plan.site)
    if plan.defect_name in FILE_DEFECTS:
        write_defective(partial, study, plan.header, plan.defect_name)
    else:
        write_study(partial, study, plan.header)
    partial.rename(target)


def _each(archive: Path, indices: list[int], seed: int, defects: bool, workers: int) -> Iterable[None]:
    """Write the studies; yield after each."""
    if workers == 1 or len(indices) < 2:
        for index in indices:
            _write_index(archive, index, seed, defects)
            yield
        return
    # Spawned, not forked: the caller may have threads (of a scheduler, of numba).
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
    write_planned(archive, plan_study(index, seed=seed, defects=defects))


def _known_studies(archive: Path, seed: int, defects: bool) -> int:
    """Give how many studies the archive was made for before, after checking that they are of the same kind."""
    if not truth_path(archive).exists():
        return 0
    rows = read_truth(archive)
    if rows and (rows[0].get("seed"), rows[0].get("defects")) != (str(seed), str(int(defects))):
        raise ArchiveError(
            "the archive was simulated with another seed or with other defects",
            "Give another folder, or the seed that was used before.",
        )
    return len(rows)


def _table_reads(plan: PlannedStudy) -> dict[str, str]:
    """Give the reads as the participants' table states them."""
    if plan.defect_name == "label-missing":
        return dict.fromkeys(READS, "")
    return draw_reads(plan.subject)


def _participant(plan: PlannedStudy, reads: dict[str, str]) -> dict[str, str]:
    label = ""
    if plan.defect_name == "label-contradictory":
        label = NEGATIVE if consensus(reads) == POSITIVE else POSITIVE
    elif plan.index % 2 == 0 and consensus(reads) in (NEGATIVE, POSITIVE):
        label = consensus(reads)
    return {
        "path": plan.path.as_posix(),
        "site": plan.site.name,
        "sex": plan.subject.sex,
        "age": f"{plan.subject.age_years:.1f}",
        "indication": "other" if plan.defect_name == "other-indication" else "CUPS",
        **reads,
        "label": label,
    }


def _truth_row(plan: PlannedStudy, defects: bool, reads: dict[str, str]) -> dict[str, str]:
    subject, truth = plan.subject, truth_of(plan.subject)
    person = plan.header.identity
    consensus_read = consensus(reads)
    expected = plan.defect.code if plan.defect is not None else ""
    if plan.defect is None and consensus_read == ATYPICAL:
        expected = ATYPICAL
    row: dict[str, object] = {
        "index": plan.index,
        "seed": plan.seed,
        "defects": int(defects),
        "study_instance_uid": plan.header.study_uid,
        "path": plan.path.as_posix(),
        "site": plan.site.name,
        "sex": subject.sex,
        "age": f"{subject.age_years:.1f}",
        "defect": plan.defect_name,
        "expected_code": expected,
        "label": truth.label,
        "consensus": consensus_read,
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
    for to in range(4):
        for source in range(4):
            row[f"template_to_study_{to}{source}"] = f"{truth.template_to_study[to, source]:.9f}"
    canaries = (
        person.family_name,
        person.given_name,
        person.patient_id,
        person.birth_date,
        person.accession_number,
        person.referring_physician,
        plan.header.institution,
        *plan.path.parts,
        plan.header.study_uid,
    )
    row["canaries"] = CANARY_SEPARATOR.join(canaries)
    return {name: str(value) for name, value in row.items()}


def _write_table(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write a CSV, whole or not at all."""
    listed = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    write_whole(path, text.getvalue().encode())

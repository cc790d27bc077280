"""What each command does and says: a call of the Python API, in words and in values. Heavy imports wait."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datbatch.config import Config
from datbatch.errors import ConfigurationError, by_code
from datbatch.location import output_beside

if TYPE_CHECKING:
    from datbatch.cohort.verify import Damage
    from datbatch.export import Exported
    from datbatch.imaging.template import Round
    from datbatch.stages.imaging import RunSummary

EXIT_OK, EXIT_ERROR, EXIT_FAILED_STUDIES = 0, 1, 3
NOTICE = "Research software, not a medical device."
TEMPLATE_STUDIES, SIMULATED_TEMPLATE_STUDIES = 64, 24


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command says: text for people, values for `--json`, and its exit code."""

    text: str
    values: Mapping[str, Any]
    code: int = EXIT_OK


def _where(options: argparse.Namespace) -> dict[str, Any]:
    """Give the arguments of every function that runs on a cluster."""
    return {"cluster": _cluster(options), "workers": options.workers, "quiet": options.quiet}


def _cluster(options: argparse.Namespace) -> str | None:
    return None if options.cluster is None else str(options.cluster)


def _config(options: argparse.Namespace, section: str = "", keys: Sequence[str] = ()) -> Config:
    """Read the parameters; options of the command that are keys of a section stand above the file."""
    config = Config() if options.config is None else Config.from_toml(options.config)
    changes = {key: value for key in keys if (value := getattr(options, key)) is not None}
    given = config.to_dict()
    return Config.from_dict(given | {section: given[section] | changes} if changes else given)


def demo(options: argparse.Namespace) -> Answer:
    """Run everything on a small simulated archive."""
    from datbatch.demo import run_demo

    demo = run_demo(options.folder, options.studies, **_where(options))
    program = sys.argv[0]
    text = f"""
{_outcome(demo.ran)}
store   {demo.store}
model   {demo.trained.folder}
report  {demo.report}
explorer  {demo.explorer}

Next: open report and explorer in a browser, or try
  {program} failures {demo.store}
  {program} study '{demo.example}' --model {demo.trained.folder} --picture {options.folder}/study.png
  {Path(program).with_name("python")} -c "import xarray; print(xarray.open_datatree('{demo.store}', engine='zarr'))"
Call the same command again: it resumes and computes nothing twice. {NOTICE}"""
    return Answer(text, dataclasses.asdict(demo))


def simulate(options: argparse.Namespace) -> Answer:
    """Make an archive of simulated studies."""
    from datbatch.demo import simulate_with_progress

    simulate_with_progress(
        options.archive, options.studies, seed=options.seed, defects=not options.no_defects,
        workers=options.workers, quiet=options.quiet,
    )  # fmt: skip
    text = f"{options.studies} studies in {options.archive}\nNext: datbatch run {options.archive} cohort.zarr"
    return Answer(text, {"archive": str(options.archive), "studies": options.studies})


def plan(options: argparse.Namespace) -> Answer:
    """Say what `run` would do, why, and what it would cost."""
    from datbatch.stages.estimate import estimate_cost
    from datbatch.stages.imaging import plan_run, prepare, stage_lines
    from datbatch.stages.train import plan_models

    config = _config(options)
    started = time.monotonic()
    manifest = prepare(options.archive, options.cohort, config, participants=options.participants, quiet=options.quiet)
    place = {"cluster": _cluster(options), "workers": options.workers, "scan_s": time.monotonic() - started}
    plan = plan_run(manifest, options.cohort, config)
    stages = (*plan.stages, *plan_models(options.cohort, config, plan.stages))
    cost = None if options.no_cost else estimate_cost(plan, options.archive, options.cohort, config, **place)
    status = Counter(entry.status for entry in manifest.entries)
    lines = [
        f"{len(manifest.entries)} studies in {manifest.files_found} files: "
        + ", ".join(f"{count} {name}" for name, count in sorted(status.items())),
        *stage_lines(stages),
        *([] if cost is None else [cost.text()]),
    ]
    values = {
        "studies": len(manifest.entries),
        "manifest": dict(status),
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "cost": None if cost is None else dataclasses.asdict(cost),
    }
    return Answer("\n".join(lines), values)


def run(options: argparse.Namespace) -> Answer:
    """Take an archive into a store."""
    from datbatch.stages.imaging import run_imaging

    ran = run_imaging(
        options.archive, options.cohort, _config(options), participants=options.participants,
        **_where(options)
    )  # fmt: skip
    return _ran(ran, f"{options.cohort}\nNext: datbatch train {options.cohort}")


def import_tomograms(options: argparse.Namespace) -> Answer:
    """Take tomograms that were reconstructed elsewhere into a store."""
    from datbatch import schema
    from datbatch.cohort.store import Store
    from datbatch.stages.imaging import run_imaging
    from datbatch.stages.origin import read_origin

    # Other parameters would make every study of the store anew.
    kept = options.config is None and Store.exists(options.cohort)
    config = read_origin(options.cohort).config if kept else _config(options)
    ran = run_imaging(
        options.archive, options.cohort, config, participants=options.participants, source=schema.TOMOGRAM,
        **_where(options)
    )  # fmt: skip
    return _ran(ran, f"{options.cohort}\nNext: datbatch norms {options.cohort}")


def _ran(ran: RunSummary, then: str) -> Answer:
    code = EXIT_FAILED_STUDIES if ran.failed else EXIT_OK
    return Answer(f"{_outcome(ran)}\n{then}", dataclasses.asdict(ran), code)


def _outcome(ran: RunSummary) -> str:
    lines = [
        f"{ran.studies} studies: {ran.done} done, {ran.failed} failed, {ran.excluded} excluded; "
        f"{ran.processed} computed now, the rest kept"
    ]
    lines += [f"  {code:<24} {count}" for code, count in sorted(ran.failures.items())]
    return "\n".join(lines)


def norms(options: argparse.Namespace) -> Answer:
    """Fit the normal range."""
    from datbatch.stages.norms import fit_norms

    norms = fit_norms(options.cohort, _config(options), quiet=options.quiet)
    return Answer(f"{norms.text()}\nNext: datbatch report {options.cohort}", dataclasses.asdict(norms))


def train(options: argparse.Namespace) -> Answer:
    """Train a model."""
    from datbatch.stages.train import train_model

    config = _config(options, "train", ("preset", "epochs", "seed"))
    trained = train_model(options.cohort, config, **_where(options))
    verb = "trained" if trained.trained else "is there already, trained on the same data with the same parameters"
    text = f"{trained.model} {verb}\n{trained.folder}\nNext: datbatch explain {options.cohort}"
    return Answer(text, {"model": trained.model, "folder": str(trained.folder), "trained": trained.trained})


def explain(options: argparse.Namespace) -> Answer:
    """Infer and explain."""
    from datbatch.stages.explain import explain_cohort

    explained = explain_cohort(
        options.cohort, _config(options), model=options.model,
        **_where(options)
    )  # fmt: skip
    text = (
        f"{explained.done} studies explained by {explained.model}, {explained.processed} of them now\n"
        f"Next: datbatch report {options.cohort}"
    )
    return Answer(text, dataclasses.asdict(explained))


def evaluate(options: argparse.Namespace) -> Answer:
    """Evaluate a model on its test set."""
    from datbatch.stages.evaluate import evaluate_cohort

    evaluated = evaluate_cohort(
        options.cohort, _config(options), model=options.model, blur=options.blur, each_site=options.leave_one_site_out,
        **_where(options)
    )  # fmt: skip
    return Answer(f"{evaluated.text()}\nNext: datbatch report {options.cohort}", evaluated.values)


def trust(options: argparse.Namespace) -> Answer:
    """Try whether relevance maps can be trusted."""
    from datbatch.stages.trust import try_maps

    config = _config(options, "trust", ("studies",))
    found = try_maps(options.cohort, config, model=options.model, **_where(options))
    return Answer(f"{found.text()}\nNext: datbatch report {options.cohort}", dataclasses.asdict(found))


def report(options: argparse.Namespace) -> Answer:
    """Write the report."""
    from datbatch.cohort.query import open_cohort
    from datbatch.report import write_report
    from datbatch.report.cohort.pages import report_folder

    output = options.output or output_beside(options.cohort, "report.html")
    page = write_report(open_cohort(options.cohort), output, model=options.model, quiet=options.quiet)
    folder = report_folder(page)
    text = f"{page}\n{folder}  figures (SVG, PNG, CSV), tables, volumes, methods.md, references.bib\n{NOTICE}"
    return Answer(text, {"report": str(page), "folder": str(folder)})


def explore(options: argparse.Namespace) -> Answer:
    """Write the explorer."""
    from datbatch.cohort.query import open_cohort
    from datbatch.report.explorer import size_beforehand, write_explorer

    cohort = open_cohort(options.cohort)
    if not options.quiet:
        print(f"datbatch: {size_beforehand(cohort, options.volumes)}", file=sys.stderr)
    output = options.output or output_beside(options.cohort, "explorer")
    written = write_explorer(cohort, output, model=options.model, volumes=options.volumes, quiet=options.quiet)
    text = f"{written.text()}\nOpen it in a browser; it needs no server and no network. {NOTICE}"
    return Answer(text, dataclasses.asdict(written), EXIT_FAILED_STUDIES if written.failed else EXIT_OK)


def study(options: argparse.Namespace) -> Answer:
    """Explain one study."""
    from datbatch.study.explain import explain_study

    if options.output is not None:
        from datbatch.report.study.folder import check_folder

        check_folder(options.output)
    explained = explain_study(
        options.dicom, options.model, age_years=options.age, sex=options.sex or "", site=options.site or ""
    )
    values, page = explained.summary(), ""
    if options.output is not None:
        from datbatch.report import write_study

        values["page"] = str(write_study(explained, options.output))
        page = f"{values['page']}\n"
    if options.picture is not None:
        from datbatch.report import write_study_picture

        write_study_picture(explained, options.picture, sign=explained.orientation)
    return Answer(f"{explained.text()}\n{page}{NOTICE}", values)


def status(options: argparse.Namespace) -> Answer:
    """Say what is done."""
    from datbatch.cohort.record import command_lines
    from datbatch.cohort.state import cohort_state

    state = cohort_state(options.cohort)
    lines = command_lines(state.commands[-1]) if state.commands else []
    lines += ["tables: " + ", ".join(f"{count} {name}" for name, count in sorted(state.studies.items()))]
    if state.imported:
        lines.append(f"{state.imported} of them imported: reconstructed elsewhere")
    lines += [f"{stage:<28} {count} studies recorded" for stage, count in state.stages.items()]
    if state.normal_range:
        lines.append(
            "normal range" + (" (of earlier tables: call `datbatch norms`)" if state.normal_range_stale else "")
        )
    lines += [f"model {name}" for name in state.models]
    return Answer("\n".join(lines), dataclasses.asdict(state))


def failures(options: argparse.Namespace) -> Answer:
    """List what failed, by code."""
    from datbatch.archive.codes import explain_code
    from datbatch.cohort.state import cohort_failures

    found = cohort_failures(options.cohort, with_files=options.files)
    lines = []
    for code, group in sorted(found.items()):
        meaning, remedy = explain_code(code)
        lines += [f"{code}: {len(group)} studies. {meaning}", f"  What to do: {remedy}"]
        for title in ("site", "scanner"):
            counts = Counter(getattr(failure, title) or "not known" for failure in group)
            lines.append(f"  by {title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
        shown = group[: options.examples]
        lines += [
            f"  {f.study}  site {f.site or '-'}  {f.stage}: {f.reason}" + "".join(f"\n    {name}" for name in f.files)
            for f in shown
        ]
        if len(shown) < len(group):
            lines.append(f"  and {len(group) - len(shown)} more: --examples {len(group)} or --json")
    values = {code: [dataclasses.asdict(f) for f in group] for code, group in found.items()}
    return Answer("\n".join(lines) or "no failures", values)


def retry(options: argparse.Namespace) -> Answer:
    """Run failed studies again."""
    from datbatch.stages.imaging import forget_failures
    from datbatch.stages.origin import read_origin
    from datbatch.stages.rerun import run_again

    unknown = sorted(set(options.code or ()) - by_code().keys())
    if unknown:
        raise ConfigurationError(f"there is no error code {unknown[0]}", "`datbatch failures COHORT` lists the codes.")
    origin = read_origin(options.cohort)
    forget_failures(options.cohort, options.code)
    return _ran(run_again(origin, options.cohort, **_where(options)), str(options.cohort))


def verify(options: argparse.Namespace) -> Answer:
    """Compare every byte with its record, and repair."""
    from datbatch.stages.repair import repair_cohort, verify_cohort

    found = verify_cohort(options.cohort, quiet=options.quiet)
    lines = [f"{found.volumes} volumes read, {len(found.damages)} damaged, {len(found.orphans)} files of nothing"]
    lines += [f"  {_damage_line(damage)}" for damage in found.damages]
    lines += [f"  {one.name}  {one.kind}" for one in found.orphans]
    values: dict[str, Any] = {
        "volumes": found.volumes,
        "damages": [{"array": d.array, "study": d.study, "granule": d.granule, "kind": d.kind} for d in found.damages],
        "orphans": [dataclasses.asdict(one) for one in found.orphans],
    }
    if not found.readable:
        lines.append("volumes and ledger were not read: what describes the arrays has to be put back first")
    if options.repair:
        done = repair_cohort(options.cohort, **_where(options))
        left = verify_cohort(options.cohort, quiet=options.quiet)
        lines += [f"  {_damage_line(damage)}" for damage in done.damages if damage not in found.damages]
        lines.append(f"repaired {len({*done.damages} - {*left.damages})}, removed {done.removed} files")
        lines += [f"  left: {_damage_line(damage)}" for damage in left.damages]
        lines += [f"  not mended: {why}\n    Then call: {command}" for command, why in done.unmended.items()]
        lost = sorted(damage.array for damage in done.damages if damage.array.startswith("runs/"))
        lines += [f"  cannot be made again: {name}, a record of a command" for name in lost]
        values |= {"left": len(left.damages), "removed": done.removed, "unmended": done.unmended, "lost": lost}
        unknown = sum(not one.ours for one in left.orphans)
        if unknown:
            lines.append(f"{unknown} files are not datbatch's and were left where they are")
        return Answer("\n".join(lines), values, EXIT_ERROR if left.damages or done.unmended else EXIT_OK)
    if found.damages or any(one.ours for one in found.orphans):
        lines.append(f"Next: datbatch verify {options.cohort} --repair")
    return Answer("\n".join(lines), values, EXIT_ERROR if found.damages else EXIT_OK)


def migrate(options: argparse.Namespace) -> Answer:
    """Bring a store to the present layout."""
    from datbatch.stages.migrate import migrate_cohort

    done = migrate_cohort(options.cohort)
    was = f", it had {done.before}" if done.before < done.layout else " already"
    return Answer(f"{options.cohort} has layout {done.layout}{was}", dataclasses.asdict(done))


def _damage_line(damage: Damage) -> str:
    of = damage.study or ("-" if damage.granule is None else f"granule {damage.granule}")
    return f"{damage.array}  {of}  {damage.kind}"


def template(options: argparse.Namespace) -> Answer:
    """Build a template, and normalise with it."""
    if (options.cohort is None) == (options.simulated is None):
        raise ConfigurationError("give a cohort, or --simulated FILE", "Call `datbatch template --help`.")
    if options.simulated is not None:
        from datbatch.stages.simulated_template import build_simulated_template

        rounds = build_simulated_template(
            options.simulated, options.studies or SIMULATED_TEMPLATE_STUDIES, rounds=options.rounds,
            workers=options.workers or os.cpu_count() or 1, quiet=options.quiet,
        )  # fmt: skip
        said = {"template": str(options.simulated), "rounds": [dataclasses.asdict(one) for one in rounds]}
        return Answer("\n".join([str(options.simulated), *_convergence(rounds)]), said)
    from datbatch.stages.template import build_cohort_template, normalise_with, template_path

    output = options.output or template_path(options.cohort)
    built = build_cohort_template(
        options.cohort, output=output, rounds=options.rounds, most=options.studies or TEMPLATE_STUDIES,
        **_where(options)
    )  # fmt: skip
    verb = "built" if built.built else "is there already, built"
    lines = [
        f"{built.path} {verb} from {built.studies} of {built.normals} normal studies of good quality",
        *_convergence(built.rounds),
    ]
    values: dict[str, Any] = dataclasses.asdict(built) | {"template": str(built.path), "run": None}
    del values["path"]
    if options.no_run:
        return Answer("\n".join([*lines, f'To use it: [register] template = "{built.path}"']), values)
    ran = normalise_with(options.cohort, output, **_where(options))
    then = _ran(ran, f"{options.cohort}\nNext: datbatch train {options.cohort}")
    return Answer("\n".join([*lines, then.text]), {**values, "run": then.values}, then.code)


def _convergence(rounds: Sequence[Round]) -> list[str]:
    """Show what each round changed."""
    lines = [f"{'round':>5} {'studies':>8} {'change':>8} {'moved mm':>9}"]
    for one in rounds:
        moved = "-" if one.movement_mm is None else f"{one.movement_mm:.3f}"
        lines.append(f"{one.number:>5} {one.studies:>8} {one.change:>8.4f} {moved:>9}")
    return lines


def atlas(options: argparse.Namespace) -> Answer:
    """Write the atlas as NIfTI."""
    from datbatch import schema
    from datbatch.imaging import write_labels

    names = write_labels(options.output)
    labels = dict(enumerate(schema.ATLAS_LABELS, 1))
    return Answer(f"{options.output}\n{names}", {"atlas": str(options.output), "names": str(names), "labels": labels})


def completion(options: argparse.Namespace) -> Answer:
    """Write the script that completes commands."""
    from datbatch.completion import completion_script

    script = completion_script(options.parser, options.shell)
    return Answer(script, {"shell": options.shell, "script": script})


def export_images(options: argparse.Namespace) -> Answer:
    """Hand out NIfTI or a BIDS data set."""
    from datbatch.export import export_bids, export_nifti

    export = {"nifti": export_nifti, "bids": export_bids}[options.format]
    return _exported(export(options.cohort, options.output, **_what(options)))


def export_tables(options: argparse.Namespace) -> Answer:
    """Hand out the tables."""
    from datbatch.cohort.query import open_cohort
    from datbatch.export import write_tables

    files = write_tables(
        open_cohort(options.cohort), options.output, kind=options.kind, model=options.model, studies=options.study
    )
    return Answer("\n".join(map(str, files)), {"files": [str(file) for file in files]})


def export_pages(options: argparse.Namespace) -> Answer:
    """Hand out a page for each study."""
    from datbatch.cohort.query import open_cohort
    from datbatch.errors import StoreError
    from datbatch.export import export_pages
    from datbatch.report.study.page import study_page
    from datbatch.report.study.stored import StoredStudies
    from datbatch.stages.origin import read_origin

    try:
        archive = read_origin(options.cohort).archive
    except StoreError:
        # A store that was passed on: its pages have no projections.
        archive = None
    stored = StoredStudies(open_cohort(options.cohort), options.cohort, model=options.model, archive=archive)
    exported = export_pages(
        options.cohort, options.output, lambda results: study_page(stored.explained(results)),
        studies=options.study, model=options.model, missing_only=options.missing_only, quiet=options.quiet,
    )  # fmt: skip
    return _exported(exported)


def export_dicom(options: argparse.Namespace) -> Answer:
    """Hand out DICOM objects."""
    from datbatch.export import export_dicom
    from datbatch.report.study.summary import draw_summary

    if options.dicom_source is not None:
        print(
            "datbatch: these files NAME THE PATIENTS, as the originals do. Keep them where identified data may be.",
            file=sys.stderr,
        )
    return _exported(
        export_dicom(options.cohort, options.output, draw_summary, source=options.dicom_source, **_what(options))
    )


def _what(options: argparse.Namespace) -> dict[str, Any]:
    """Give the arguments of every export of single studies."""
    return {
        "frame": options.frame, "studies": options.study, "model": options.model,
        "missing_only": options.missing_only, "quiet": options.quiet,
    }  # fmt: skip


def _exported(exported: Exported) -> Answer:
    code = EXIT_FAILED_STUDIES if exported.failed else EXIT_OK
    return Answer(exported.text(), dataclasses.asdict(exported), code)

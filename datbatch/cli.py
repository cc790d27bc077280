"""The commands: arguments in, a call of the Python API, words or JSON out. Heavy imports wait for their command."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datbatch import __version__
from datbatch.config import Config
from datbatch.errors import ConfigurationError, DatbatchError

if TYPE_CHECKING:
    from datbatch.execution.imaging_run import RunSummary
    from datbatch.imaging.template import Round

EXIT_OK, EXIT_ERROR, EXIT_USAGE, EXIT_FAILED_STUDIES, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
NOTICE = "Research software, not a medical device."
EPILOG = f"""exit codes: 0 all well; 1 error; 2 wrong usage; 3 finished, but studies failed (see `datbatch failures`);
130 interrupted (call again to resume). {NOTICE}"""

DEMO_STUDIES = 64
TEMPLATE_STUDIES, SIMULATED_TEMPLATE_STUDIES = 64, 24


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command says: text for people, values for `--json`, and its exit code."""

    text: str
    values: Mapping[str, Any]
    code: int = EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        answer: Answer = options.command(options)
    except DatbatchError as error:
        if options.json:
            print(json.dumps({"error": error.code, "reason": error.reason, "remedy": error.advice}))
        # Paths may hold names: they are shown here, on the operator's terminal, and nowhere else.
        where = "".join(f"{path}: " for path in getattr(options, "dicom", ())[:1])
        print(f"datbatch: {where}{error.reason} [{error.code}]\n  What to do: {error.advice}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_ERROR
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if options.json:
            print(json.dumps({"error": "system", "reason": reason, "remedy": "Mend it, then call again."}))
        print(f"datbatch: {error.filename or ''}: {reason} [system]", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print(
            "\ndatbatch: interrupted; what is done is kept. Call the same command again to resume.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    print(json.dumps(answer.values, indent=1, default=str) if options.json else answer.text)
    return answer.code


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands."""
    parser = argparse.ArgumentParser(
        prog="datbatch",
        description="Reprocess archives of DAT-SPECT and explain a classifier's decision for each study.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"datbatch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = _command(commands, "demo", _demo, "everything, on a small simulated archive", "datbatch demo demo")
    demo.add_argument("folder", type=Path, nargs="?", default=Path("demo"), help="where to put it (default: demo)")
    demo.add_argument("--studies", type=_positive, default=DEMO_STUDIES, help="studies to simulate (default: 64)")
    _cluster_options(demo)

    simulate = _command(
        commands, "simulate", _simulate, "an archive of raw DICOM studies with known truth",
        "datbatch simulate archive --studies 64",
    )  # fmt: skip
    simulate.add_argument("archive", type=Path, help="folder to make")
    simulate.add_argument("--studies", type=_positive, required=True, help="how many")
    simulate.add_argument("--seed", type=int, default=0, help="seed; study k depends on it and k alone")
    simulate.add_argument("--no-defects", action="store_true", help="leave out the studies that are broken on purpose")
    simulate.add_argument("--workers", type=_positive, help="processes (default: one per core)")

    for name, function, words in (
        ("plan", _plan, "what `run` would do, and why"),
        ("run", _run, "read, reconstruct, normalise, quantify, store"),
    ):
        command = _command(commands, name, function, words, f"datbatch {name} archive cohort.zarr")
        command.add_argument("archive", type=Path, help="folder of DICOM files, of any shape")
        command.add_argument("cohort", type=Path, help="store, made where there is none")
        command.add_argument("--participants", type=Path, help="table of labels, sites, ages (default: in the archive)")
        _config_option(command)
        if name == "run":
            _cluster_options(command)

    norms = _command(
        commands, "norms", _norms, "normal range, corrected recovery, harmonised sites", "datbatch norms cohort.zarr"
    )
    norms.add_argument("cohort", type=Path)
    _config_option(norms)

    train = _command(commands, "train", _train, "split the cohort and train the network", "datbatch train cohort.zarr")
    train.add_argument("cohort", type=Path)
    train.add_argument("--preset", choices=("paper", "compact"), help="network (default: of the parameters)")
    train.add_argument("--epochs", type=_positive, help="passes over the training set")
    _config_option(train)
    _cluster_options(train)

    explain = _command(
        commands,
        "explain",
        _explain,
        "inference and relevance for every study",
        "datbatch explain cohort.zarr",
    )
    explain.add_argument("cohort", type=Path)
    explain.add_argument("--model", help="name of a trained model (default: the newest)")
    _config_option(explain)
    _cluster_options(explain)

    report = _command(commands, "report", _report, "figures and tables, one HTML file", "datbatch report cohort.zarr")
    report.add_argument("cohort", type=Path)
    report.add_argument("--model", help="name of a model in the store (default: the newest)")
    report.add_argument("--output", type=Path, help="file to write (default: COHORT.report.html)")

    study = _command(
        commands, "study", _study, "one study, explained, without store or cluster",
        "datbatch study projections.dcm --model cohort.models/compact-1a2b3c4d",
    )  # fmt: skip
    study.add_argument("dicom", type=Path, nargs="+", help="the study's DICOM files")
    study.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    study.add_argument("--picture", type=Path, help="write uptake and relevance as a PNG picture")

    status = _command(commands, "status", _status, "what is done", "datbatch status cohort.zarr")
    status.add_argument("cohort", type=Path)

    failures = _command(commands, "failures", _failures, "what failed, where and why", "datbatch failures cohort.zarr")
    failures.add_argument("cohort", type=Path)
    failures.add_argument("--files", action="store_true", help="name the files too (from the linkage table)")

    retry = _command(
        commands, "retry", _retry, "run failed studies again", "datbatch retry cohort.zarr --code internal"
    )
    retry.add_argument("cohort", type=Path)
    retry.add_argument("--code", action="append", help="only this error code (can be given again)")
    _cluster_options(retry)

    verify = _command(commands, "verify", _verify, "compare every byte with its record", "datbatch verify cohort.zarr")
    verify.add_argument("cohort", type=Path)
    verify.add_argument("--repair", action="store_true", help="compute damaged granules again")
    _cluster_options(verify)

    template = _command(
        commands, "template", _template, "build a template from a cohort's normal studies, and normalise with it",
        "datbatch template cohort.zarr",
    )  # fmt: skip
    template.add_argument("cohort", type=Path, nargs="?", help="store, made by `run`")
    template.add_argument(
        "--simulated", type=Path, metavar="FILE", help="build from simulated studies, without a store"
    )
    template.add_argument("--output", type=Path, help="NIfTI file to write (default: COHORT.template.nii.gz)")
    template.add_argument("--rounds", type=_positive, default=3, help="times that all are registered (default: 3)")
    template.add_argument(
        "--studies",
        type=_positive,
        help=f"studies to average at most (default: {TEMPLATE_STUDIES}; simulated: {SIMULATED_TEMPLATE_STUDIES})",
    )
    template.add_argument("--no-run", action="store_true", help="only build it, and leave the store as it is")
    _cluster_options(template)

    atlas = _command(
        commands, "atlas", _atlas, "write the atlas as an image of labels, and their names beside it",
        "datbatch atlas atlas.nii.gz",
    )  # fmt: skip
    atlas.add_argument("output", type=Path, help="NIfTI file to write; the names go to a .tsv of the same name")
    return parser


def _command(
    commands: Any, name: str, function: Callable[[Any], Answer], words: str, example: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}.", epilog=f"example: {example}"
    )
    parser.set_defaults(command=function)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return parser


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="TOML", help="parameter file; what it leaves out keeps its default"
    )


def _cluster_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cluster", metavar="ADDRESS", help="Dask scheduler: its address or its scheduler file")
    parser.add_argument("--workers", type=_positive, help="processes of the local cluster (default: one per core)")


def _where(options: argparse.Namespace) -> dict[str, Any]:
    """Give the arguments of every function that runs on a cluster."""
    return {"cluster": options.cluster, "workers": options.workers, "quiet": options.quiet}


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, not {text!r}")
    return int(text)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _config(options: argparse.Namespace) -> Config:
    return Config() if options.config is None else Config.from_toml(options.config)


def _demo(options: argparse.Namespace) -> Answer:
    from datbatch.demo import run_demo

    demo = run_demo(options.folder, options.studies, **_where(options))
    program = sys.argv[0]
    text = f"""
{_outcome(demo.ran)}
store   {demo.store}
model   {demo.trained.folder}
report  {demo.report}

Next: open the report in a browser, or try
  {program} failures {demo.store}
  {program} study '{demo.example}' --model {demo.trained.folder} --picture {options.folder}/study.png
  {Path(program).with_name("python")} -c "import xarray; print(xarray.open_datatree('{demo.store}', engine='zarr'))"
Call the same command again: it resumes and computes nothing twice. {NOTICE}"""
    return Answer(text, dataclasses.asdict(demo))


def _simulate(options: argparse.Namespace) -> Answer:
    from datbatch.demo import simulate_with_progress

    simulate_with_progress(
        options.archive, options.studies, seed=options.seed, defects=not options.no_defects,
        workers=options.workers, quiet=options.quiet,
    )  # fmt: skip
    text = f"{options.studies} studies in {options.archive}\nNext: datbatch run {options.archive} cohort.zarr"
    return Answer(text, {"archive": str(options.archive), "studies": options.studies})


def _plan(options: argparse.Namespace) -> Answer:
    from datbatch.execution.estimate import estimate_cost
    from datbatch.execution.imaging_run import plan_run, prepare
    from datbatch.execution.model_run import plan_models

    config = _config(options)
    manifest = prepare(options.archive, options.cohort, config, participants=options.participants, quiet=options.quiet)
    plan = plan_run(manifest, options.cohort, config)
    stages = (*plan.stages, *plan_models(options.cohort, config, plan.stages))
    cost = estimate_cost(plan, options.archive, config)
    status = Counter(entry.status for entry in manifest.entries)
    lines = [
        f"{len(manifest.entries)} studies in {manifest.files_found} files: "
        + ", ".join(f"{count} {name}" for name, count in sorted(status.items())),
        f"{'stage':<12} {'to run':>7} {'kept':>7}  why",
        *(f"{stage.name:<12} {stage.studies:>7} {stage.done:>7}  {stage.reason}" for stage in stages),
        cost.text(),
    ]
    values = {
        "studies": len(manifest.entries),
        "manifest": dict(status),
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "cost": dataclasses.asdict(cost),
    }
    return Answer("\n".join(lines), values)


def _run(options: argparse.Namespace) -> Answer:
    from datbatch.execution.imaging_run import run_imaging

    ran = run_imaging(
        options.archive, options.cohort, _config(options), participants=options.participants,
        **_where(options)
    )  # fmt: skip
    return _ran(ran, f"{options.cohort}\nNext: datbatch train {options.cohort}")


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


def _norms(options: argparse.Namespace) -> Answer:
    from datbatch.execution.norms_run import fit_norms

    norms = fit_norms(options.cohort, _config(options))
    return Answer(f"{norms.text()}\nNext: datbatch report {options.cohort}", dataclasses.asdict(norms))


def _train(options: argparse.Namespace) -> Answer:
    from datbatch.execution.model_run import train_model

    config = _config(options)
    changes = {key: value for key in ("preset", "epochs") if (value := getattr(options, key)) is not None}
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))
    trained = train_model(options.cohort, config, **_where(options))
    verb = "trained" if trained.trained else "is there already, trained on the same data with the same parameters"
    text = f"{trained.model} {verb}\n{trained.folder}\nNext: datbatch explain {options.cohort}"
    return Answer(text, {"model": trained.model, "folder": str(trained.folder), "trained": trained.trained})


def _explain(options: argparse.Namespace) -> Answer:
    from datbatch.execution.model_run import explain_cohort

    explained = explain_cohort(
        options.cohort, _config(options), model=options.model,
        **_where(options)
    )  # fmt: skip
    text = (
        f"{explained.done} studies explained by {explained.model}, {explained.processed} of them now\n"
        f"Next: datbatch report {options.cohort}"
    )
    return Answer(text, dataclasses.asdict(explained))


def _report(options: argparse.Namespace) -> Answer:
    from datbatch.cohort.query import open_cohort
    from datbatch.report import write_report

    output = options.output or options.cohort.with_name(f"{options.cohort.stem}.report.html")
    page = write_report(open_cohort(options.cohort), output, model=options.model)
    return Answer(str(page), {"report": str(page)})


def _study(options: argparse.Namespace) -> Answer:
    from datbatch.execution.study import explain_study

    explained = explain_study(options.dicom, options.model)
    if options.picture is not None:
        from datbatch.report import write_study_picture

        write_study_picture(explained, options.picture, sign=explained.orientation)
    return Answer(f"{explained.text()}\n{NOTICE}", explained.summary())


def _status(options: argparse.Namespace) -> Answer:
    from datbatch.execution.state import cohort_state

    state = cohort_state(options.cohort)
    lines = [", ".join(f"{count} {name}" for name, count in sorted(state.studies.items()))]
    lines += [f"{stage:<28} {count} studies recorded" for stage, count in state.stages.items()]
    if state.normal_range:
        lines.append(
            "normal range" + (" (of earlier tables: call `datbatch norms`)" if state.normal_range_stale else "")
        )
    lines += [f"model {name}" for name in state.models]
    return Answer("\n".join(lines), dataclasses.asdict(state))


def _failures(options: argparse.Namespace) -> Answer:
    from datbatch.archive.codes import explain_code
    from datbatch.execution.state import cohort_failures

    found = cohort_failures(options.cohort, with_files=options.files)
    lines = []
    for code, group in sorted(found.items()):
        meaning, remedy = explain_code(code)
        lines += [f"{code}: {len(group)} studies. {meaning}", f"  What to do: {remedy}"]
        lines += [
            f"  {f.study}  site {f.site or '-'}  {f.stage}: {f.reason}" + "".join(f"\n    {name}" for name in f.files)
            for f in group
        ]
    values = {code: [dataclasses.asdict(f) for f in group] for code, group in found.items()}
    return Answer("\n".join(lines) or "no failures", values)


def _retry(options: argparse.Namespace) -> Answer:
    from datbatch.execution.imaging_run import forget_failures, run_imaging
    from datbatch.execution.origin import read_origin

    origin = read_origin(options.cohort)
    forget_failures(options.cohort, options.code)
    ran = run_imaging(
        origin.archive, options.cohort, origin.config, participants=origin.participants,
        **_where(options)
    )  # fmt: skip
    return _ran(ran, str(options.cohort))


def _verify(options: argparse.Namespace) -> Answer:
    from datbatch.execution.state import repair_cohort, verify_cohort

    count, damages = verify_cohort(options.cohort, quiet=options.quiet)
    lines = [f"{count} volumes read, {len(damages)} damaged"]
    lines += [f"  {d.array}  {d.study}  {d.kind}" for d in damages]
    code = EXIT_ERROR if damages else EXIT_OK
    if options.repair:
        swept = repair_cohort(options.cohort, damages, **_where(options))
        _, left = verify_cohort(options.cohort, quiet=options.quiet)
        lines.append(f"repaired {len(damages) - len(left)}, removed {swept} left-over files")
        code = EXIT_ERROR if left else EXIT_OK
    elif damages:
        lines.append(f"Next: datbatch verify {options.cohort} --repair")
    values = {
        "volumes": count,
        "damages": [{"array": d.array, "study": d.study, "kind": d.kind} for d in damages],
    }
    return Answer("\n".join(lines), values, code)


def _template(options: argparse.Namespace) -> Answer:
    if (options.cohort is None) == (options.simulated is None):
        raise ConfigurationError("give a cohort, or --simulated FILE", "Call `datbatch template --help`.")
    if options.simulated is not None:
        from datbatch.execution.simulated_template import build_simulated_template

        rounds = build_simulated_template(
            options.simulated, options.studies or SIMULATED_TEMPLATE_STUDIES, rounds=options.rounds,
            workers=options.workers or os.cpu_count() or 1, quiet=options.quiet,
        )  # fmt: skip
        said = {"template": str(options.simulated), "rounds": [dataclasses.asdict(one) for one in rounds]}
        return Answer("\n".join([str(options.simulated), *_convergence(rounds)]), said)
    from datbatch.execution.template import build_cohort_template, normalise_with, template_path

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


def _atlas(options: argparse.Namespace) -> Answer:
    from datbatch.cohort import schema
    from datbatch.imaging import write_labels

    names = write_labels(options.output)
    labels = dict(enumerate(schema.ATLAS_LABELS, 1))
    return Answer(f"{options.output}\n{names}", {"atlas": str(options.output), "names": str(names), "labels": labels})

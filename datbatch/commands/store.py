"""`datbatch status`, `failures`, `retry`, `verify` and `migrate`: the state of a store, and what mends it."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datbatch.commands.command import EXIT_ERROR, EXIT_OK, Answer, cluster_options, cohort_command, positive, where
from datbatch.commands.run import run_answer
from datbatch.errors import ConfigurationError, by_code
from datbatch.progress import duration

if TYPE_CHECKING:
    from datbatch.cohort.verify import Damage
    from datbatch.cohort.views.state import Failure

WORKERS_SHOWN = 8


def add(parsers: Any) -> None:
    """Describe the commands."""
    made = cohort_command(parsers, status, "show what is done")

    made = cohort_command(parsers, failures, "list what failed, where and why")
    words = "studies to list for each code (default: 5)"
    made.add_argument("--examples", type=positive, default=5, metavar="N", help=words)
    made.add_argument("--files", action="store_true", help="name the files too (from the linkage table)")

    made = cohort_command(parsers, retry, "run failed studies again", " --code internal")
    made.add_argument("--code", action="append", help="only this error code (can be given again)")
    cluster_options(made)

    made = cohort_command(parsers, verify, "compare every byte with its record")
    made.add_argument("--repair", action="store_true", help="compute damaged granules again")
    cluster_options(made)

    cohort_command(parsers, migrate, "bring a store of an earlier version to today's layout")


def status(options: argparse.Namespace) -> Answer:
    """Say what is done."""
    from datbatch.cohort.views.state import cohort_state

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
    return Answer("\n".join(lines), asdict(state))


def command_lines(content: Mapping[str, Any]) -> list[str]:
    """Say what a command's record holds: what it did, since when, how far it is, how fast, with which workers."""
    from datbatch.cohort.record import LOST, RUNNING, outcome_of, seconds_since

    outcome = outcome_of(content)
    words = {RUNNING: "under way", LOST: "was killed"}.get(outcome, outcome)
    since = str(content.get("started", ""))[:16].replace("T", " ")
    signed = f", last sign of life {duration(seconds_since(content.get('last_sign')))} ago"
    lines = [f"{content.get('command')} {words}, begun {since} UTC{signed if outcome in (RUNNING, LOST) else ''}"]
    progress = content.get("progress")
    if progress:
        left = progress.get("seconds_left")
        parts = [f"{progress['done']}/{progress['total']} {progress['unit']}", f"{progress['per_second']:.2f}/s"]
        if outcome == RUNNING and left is not None:
            parts.append(f"{duration(left)} left")
        parts += [f"{progress['failed']} failed"] if progress["failed"] else []
        lines.append(f"  {progress['activity']}: " + ", ".join(parts))
        done = progress["done"]
        if progress["seconds_by_step"] and done:
            steps = (f"{step} {seconds / done:.2f}" for step, seconds in progress["seconds_by_step"].items())
            lines.append("  seconds a study: " + ", ".join(steps))
        workers = progress["workers"]
        slowest = sorted(workers, key=lambda name: workers[name]["per_second"])[:WORKERS_SHOWN]
        lines += [f"  worker {w}: {workers[w]['done']} done, {workers[w]['per_second']:.2f}/s" for w in slowest]
        if len(workers) > len(slowest):
            lines.append(f"  and {len(workers) - len(slowest)} faster workers")
    if content.get("error"):
        lines.append(f"  ended with {content['error']}")
    return lines


def failures(options: argparse.Namespace) -> Answer:
    """List what failed, by code."""
    from datbatch.archive.codes import explain_code
    from datbatch.cohort.views.state import cohort_failures

    found = cohort_failures(options.cohort, with_files=options.files)
    lines = []
    for code, group in sorted(found.items()):
        meaning, remedy = explain_code(code)
        lines += [f"{code}: {len(group)} studies. {meaning}", f"  What to do: {remedy}"]
        for title in ("site", "scanner"):
            counts = Counter(getattr(failure, title) or "not known" for failure in group)
            lines.append(f"  by {title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
        shown = group[: options.examples]
        for f in shown:
            lines.append(f"  {f.study}  site {f.site or '-'}  {f.outcome.stage}: {f.outcome.reason}")
            lines += [f"    {name}" for name in f.files]
        if len(shown) < len(group):
            lines.append(f"  and {len(group) - len(shown)} more: --examples {len(group)} or --json")
    values = {code: [_failure_values(f) for f in group] for code, group in found.items()}
    return Answer("\n".join(lines) or "no failures", values)


def _failure_values(f: Failure) -> dict[str, Any]:
    status, _, stage, reason = f.outcome
    told = {"study": f.study, "site": f.site, "scanner": f.scanner}
    return {**told, "status": status, "stage": stage, "reason": reason, "files": f.files}


def retry(options: argparse.Namespace) -> Answer:
    """Run failed studies again."""
    from datbatch.archive.origin import read_origin
    from datbatch.stages.repair import forget_failures, run_again

    unknown = sorted(set(options.code or ()) - by_code().keys())
    if unknown:
        raise ConfigurationError(f"there is no error code {unknown[0]}", "`datbatch failures COHORT` lists the codes.")
    origin = read_origin(options.cohort)
    forget_failures(options.cohort, options.code)
    return run_answer(run_again(origin, options.cohort, **where(options)), str(options.cohort))


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
        "orphans": [asdict(one) for one in found.orphans],
    }
    if found.shadow is None:
        lines.append("volumes were not read: neither the ledger nor the store tells the names of the studies")
    if options.repair:
        done = repair_cohort(options.cohort, **where(options))
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
    return Answer(f"{options.cohort} has layout {done.layout}{was}", asdict(done))


def _damage_line(damage: Damage) -> str:
    of = damage.study or ("-" if damage.granule is None else f"granule {damage.granule}")
    return f"{damage.array}  {of}  {damage.kind}"

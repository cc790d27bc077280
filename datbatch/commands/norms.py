"""`datbatch norms`: the normal range of a cohort."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from datbatch.commands.command import Answer, cohort_command, config_of, config_option


def add(parsers: Any) -> None:
    """Describe the command."""
    made = cohort_command(parsers, norms, "fit the normal range, with corrected recovery and harmonised sites")
    config_option(made)


def norms(options: argparse.Namespace) -> Answer:
    """Fit the normal range."""
    from datbatch import schema
    from datbatch.norms import WARNINGS
    from datbatch.stages.norms import fit_norms

    found = fit_norms(options.cohort, config_of(options), quiet=options.quiet)
    head = found.headline
    verb = "fitted to" if found.fitted else "is there already, fitted to the same"
    by_site = ", ".join(f"{site} {count}" for site, count in found.normals_by_site.items())
    lines = [
        f"normal range {verb} {found.normals} normal studies of the training split" + f" ({by_site})" * bool(by_site),
        f"{schema.MAIN_MEASURE} ({head['normals']} normals, {head['outliers']} outliers left out)",
    ]
    fitted = zip(found.terms, head["coefficient"], head["standard_error"], strict=True)
    lines += [f"  {term:<18} {_shown(b)} (standard error {_shown(error)})" for term, b, error in fitted]
    lines += [f"  {f'site {site}':<18} {_shown(u)}" for site, u in head["site_effect"].items()]
    lines.append(f"  {'sd within site':<18} {_shown(head['residual_sd'])}")
    if found.normals_by_site:
        lines.append(f"  {'sd between sites':<18} {_shown(head['site_sd'])}")
    lines.append("outside its 95 % interval, of the studies that did not train")
    lines += [f"  {label:<18} {out} of {studies}" for label, (out, studies) in found.outside.items()]
    lines += [f"warnings, of {found.studies} studies"] if found.warnings else ["no warnings"]
    lines += [f"  {code:<22} {count:>6}  {WARNINGS[code]}" for code, count in found.warnings.items()]
    if found.without_range:
        lines.append(f"{len(found.without_range)} measures have too few values for a normal range (--json names them)")
    lines.append(f"Next: datbatch report {options.cohort}")
    return Answer("\n".join(lines), asdict(found))


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"

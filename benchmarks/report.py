"""Time and size of the report of a cohort as large as the paper's: 1,306 studies, of a store that is filled cheaply.

Tables are drawn at random, and two volumes of each kind are repeated. Run `python -m benchmarks.report`, or
`make benchmark-report`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from datbatch import schema
from datbatch.cohort.views.query import open_cohort
from datbatch.config import Config
from datbatch.imaging import load_template
from datbatch.report import write_report

STUDIES, SITES = 1306, 6
MOST_SECONDS, MOST_MB = 120.0, 30.0
DIMENSIONS = ("study", "x", "y", "z")


def main() -> None:
    """Fill a store, write its report, and print seconds and megabytes beside what they must not exceed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES)
    parser.add_argument("--folder", type=Path, help="keep store and report here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        store = folder / "cohort.zarr"
        fill(store, options.studies)
        cohort = open_cohort(store)
        started, used = time.perf_counter(), time.process_time()
        page = write_report(cohort, folder / "cohort.report.html")
        seconds, processor = time.perf_counter() - started, time.process_time() - used
        beside = sum(path.stat().st_size for path in page.with_suffix("").rglob("*") if path.is_file())
        size = page.stat().st_size
    print(f"report of {options.studies} studies")
    print(f"  {'seconds':<28} {seconds:7.1f}   at most {MOST_SECONDS:g} (processor {processor:.1f})")
    print(f"  {'page, MB':<28} {size / 1e6:7.1f}   at most {MOST_MB:g}")
    print(f"  {'folder of figures, MB':<28} {beside / 1e6:7.1f}")
    if seconds > MOST_SECONDS or size > MOST_MB * 1e6:
        raise SystemExit("too slow or too large")


def fill(store: Path, studies: int) -> None:
    """Write a store of so many studies: tables at random, two volumes of each kind over and over."""
    rng = np.random.default_rng(1)
    positive = rng.random(studies) < 0.478
    label = np.where(positive, schema.POSITIVE, schema.NEGATIVE)
    wrong = rng.random(studies) < 0.042
    status = np.where(rng.random(studies) < 0.03, schema.FAILED, schema.DONE)
    split = rng.choice(["train", "validation", "test"], studies, p=(2 / 3, 1 / 9, 2 / 9))
    ratio = np.where(positive, 0.6, 1.3)[:, None] + rng.normal(0, 0.2, (studies, len(schema.REGIONS)))
    measured = np.where(positive, 0.6, 1.3)[:, None, None, None] + rng.normal(0, 0.2, (studies, 3, 3, 6))
    odds = np.where(positive ^ wrong, 2.0, -2.0) + rng.normal(0, 0.5, studies)
    coordinates: dict[str, Any] = {
        "study": ("study", [f"s{number:016d}" for number in range(studies)]),
        "site": ("study", rng.choice([f"site {letter}" for letter in "ABCDEF"[:SITES]], studies)),
        "scanner": ("study", np.full(studies, "Simulated camera")),
        "sex": ("study", rng.choice(["F", "M"], studies)),
        "age": ("study", rng.normal(67, 11, studies)),
        "label": ("study", label),
        "split": ("study", split),
        "status": ("study", status),
        "error_code": ("study", np.where(status == schema.FAILED, "truncated", "")),
        "error_stage": ("study", np.where(status == schema.FAILED, "reconstruct", "")),
        "error_reason": ("study", np.where(status == schema.FAILED, "60 of 120 frames", "")),
        "flags": ("study", rng.choice(["", "motion", "low-counts motion"], studies, p=(0.8, 0.15, 0.05))),
        "quantification_flags": ("study", rng.choice(["", schema.REGION_CUT], studies, p=(0.95, 0.05))),
        "reads": (("study", "read"), np.repeat(label[:, None], len(schema.READS), axis=1)),
        **{name: (name, schema.coordinates_mm(axis)) for axis, name in enumerate("xyz")},
    }
    quality = {name: ("study", rng.uniform(0.9, 1, studies)) for name in ("correlation", "outline_dice", "coverage")}
    root = xr.Dataset(
        {
            "counts": ("study", rng.normal(3e6, 5e5, studies)),
            "mirrored": ("study", rng.random(studies) < 0.5),
            "specific_binding_ratio": (("study", "region"), ratio),
            "binding_ratio": (("study", "definition", "background", "striatal"), measured),
            "asymmetry_index": (("study", "definition", "structure"), rng.normal(5, 5, (studies, 3, 3))),
            "putamen_to_caudate_ratio": (("study", "definition", "side"), rng.normal(0.8, 0.1, (studies, 3, 2))),
            **{f"quality_{name}": one for name, one in quality.items()},
        },
        coordinates,
        {
            "config": json.dumps(Config().to_dict()),
            "datbatch_version": "benchmark",
            "files": json.dumps({"found": studies, "skipped": {}}),
            "simulated": True,
        },
    )
    z_score = np.where(positive, -3.0, 0.0)[:, None] + rng.normal(0, 1, (studies, len(schema.MEASURES)))
    normal = xr.Dataset(
        {"z_score": (("study", "measure"), z_score), "lower": (("study", "measure"), np.full(z_score.shape, 0.9))},
        {"split": ("study", split), "warnings": ("study", np.full(studies, ""))},
        {"summary": json.dumps({"normals": int((~positive & (split == "train")).sum())})},
    )
    regional = np.zeros((studies, len(schema.REGIONS), len(schema.STATISTICS)))
    regional[:, 0] = (1e-4 * (odds + rng.normal(0, 1, studies)))[:, None]
    model = xr.Dataset(
        {
            "regional": (("study", "region", "statistic"), regional),
            "probability": ("study", 1 / (1 + np.exp(-odds))),
            "log_odds": ("study", odds),
            "inconsistent": ("study", wrong & (rng.random(studies) < 0.6)),
        },
        {"predicted": ("study", np.where(odds > 0, schema.POSITIVE, schema.NEGATIVE))},
        {"card": json.dumps({"preset": "paper", "orientation": {"sign": 1.0, "threshold": 0.0}}), "created": "2026"},
    )
    groups = {"": root, schema.NORMAL_RANGE: normal, "relevance/benchmark": model}
    for group, dataset in groups.items():
        dataset.to_zarr(store, group=group or None, mode="w" if not group else "a", consolidated=False)
    template = load_template().data
    kinds = [np.float32(1 - 0.5 * kind) * template + rng.normal(0, 0.1, schema.SHAPE) for kind in (0.0, 1.0)]
    volumes = {"uptake": kinds, "map": [sign * 1e-4 * np.maximum(kinds[0] - 1.5, 0) for sign in (-1, 1)]}
    for name, group, which in (("uptake", "", positive), ("map", "relevance/benchmark", odds > 0)):
        made = np.stack(volumes[name]).astype(np.float32)
        array = zarr.open_group(store, path=group, mode="a").create_array(
            name, shape=(studies, *schema.SHAPE), chunks=(1, *schema.SHAPE), dtype="float32", dimension_names=DIMENSIONS
        )
        # A report reads the volumes of the test set alone; the others stay empty.
        for study in np.flatnonzero((split == "test") & (status == schema.DONE)):
            array[int(study)] = made[int(which[study])]
    zarr.consolidate_metadata(store)


if __name__ == "__main__":
    main()

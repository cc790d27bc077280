"""Cheap or poisonous imaging: Python loads this file at its start where this folder is on PYTHONPATH.

DATBATCH_STAND_IN=cheap replaces the imaging of a study by numbers that follow from its files alone, so that a round of
faults takes seconds. DATBATCH_STAND_IN="segfault=NAME hunger=NAME hang=NAME wait=NAME" lets the studies in whose path
NAME stands crash, take all memory, never end, or wait for two seconds once they have made the file DATBATCH_UNDER_WAY.
The product knows nothing of it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

STAGES = "datbatch.study.imaging"
WANTED = os.environ.get("DATBATCH_STAND_IN", "")


class Finder(importlib.abc.MetaPathFinder):
    """Exchanges one function of one module as soon as that is loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != STAGES:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_replace(module: ModuleType) -> None:
            load(module)
            module.image_study = cheap(module) if WANTED == "cheap" else poisonous(module.image_study)  # type: ignore

        spec.loader.exec_module = load_and_replace  # type: ignore[method-assign]
        return spec


def poisonous(image_study: Callable[..., Any]) -> Callable[..., Any]:
    poisons = dict(one.split("=") for one in WANTED.split())

    def image(study: str, files: Sequence[Any], *rest: Any) -> Any:
        for poison, name in poisons.items():
            if name in str(files[0]):
                POISONS[poison]()
        return image_study(study, files, *rest)

    return image


def segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def hunger() -> None:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20) * 16))


def hang() -> None:
    while True:
        time.sleep(1.0)


def wait() -> None:
    Path(os.environ["DATBATCH_UNDER_WAY"]).touch()
    time.sleep(2.0)


POISONS = {"segfault": segfault, "hunger": hunger, "hang": hang, "wait": wait}


def cheap(stages: ModuleType) -> Callable[..., Any]:
    import hashlib

    import numpy as np

    def image(study: str, files: Sequence[Any], config: Any, known: Any = None, *_: Any) -> Any:
        del config
        seed = hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()
        chance = np.random.default_rng(int.from_bytes(seed[:8], "little"))
        time.sleep(float(chance.uniform(0.1, 0.5)))
        uptake = np.zeros(stages.schema.SHAPE, dtype=np.float32)
        uptake[40:50, 50:60, 30:40] = chance.random((10, 10, 10), dtype=np.float32)
        rows = {
            "reconstruct": {"counts": float(chance.integers(10**6)), "views": int(chance.integers(200))},
            "register": {"template_to_study": chance.random((4, 4)).tolist()},
            "quantify": {"mirrored": bool(chance.random() < 0.5), "reference_value": float(chance.random())},
        }
        made = {stage: stages.Row(study, stages.DONE, values) for stage, values in rows.items()}
        return stages.ImagedStudy({**made, **(known or {})}, uptake)

    return image


if WANTED:
    sys.meta_path.insert(0, Finder())

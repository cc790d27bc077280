"""What Dask is told, here and elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path

import dask

from datbatch.workers.dask_settings import SETTINGS, WORKER_SETTINGS, worker_environment


def test_workers_elsewhere_understand_the_same_as_those_of_this_machine() -> None:
    words = [shlex.split(line) for line in worker_environment()]
    assert {word for word, _ in words} == {"export"}
    told = dask.config.collect_env(dict(pair.split("=", 1) for _, pair in words))
    with dask.config.set(SETTINGS):
        for key, value in WORKER_SETTINGS.items():
            assert dask.config.get(key, config=told) == dask.config.get(key) == value


def test_workers_on_kubernetes_are_told_the_same() -> None:
    manifest = (Path(__file__).parents[2] / "cluster" / "kubernetes" / "cluster.yaml").read_text()
    for line in worker_environment():
        name, value = shlex.split(line)[1].split("=", 1)
        # The processors' workers take the scheduler's list.
        assert manifest.count(f'{{name: {name}, value: "{value}"}}') == 2

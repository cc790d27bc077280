"""The manifests hold against Kubernetes' own schema; what the operator's kinds embed is checked as pod and service."""

import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from datbatch.workers.cluster_file import ACCELERATOR, IMAGER
from datbatch.workers.pools import worker_environment

MANIFESTS = Path(__file__).parents[2] / "cluster" / "kubernetes"


def documents() -> list[dict[str, Any]]:
    return [one for path in sorted(MANIFESTS.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


def core(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a document of Kubernetes' own kinds, or those that one of the operator's embeds."""
    if not document["apiVersion"].startswith("kubernetes.dask.org"):
        yield document
        return
    for part in (document["spec"].get("scheduler"), document["spec"]["worker"]):
        if part is not None:
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "embedded"}, "spec": part["spec"]}
            if "service" in part:
                yield {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": part["service"]}


@pytest.mark.kubernetes
def test_every_manifest_is_valid_in_the_strict_sense() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    checked = [validate.validate(one, "1.31", strict=True) for document in documents() for one in core(document)]
    assert len(checked) >= 8


def test_pools_are_told_apart_and_all_that_is_said_between_them_is_encrypted() -> None:
    workers = [d["spec"]["worker"]["spec"]["containers"][0] for d in documents() if "worker" in d.get("spec", {})]
    assert [w["args"][-1] for w in workers] == [f"{IMAGER}=1", f"{ACCELERATOR}=1"]
    for container in workers:
        assert {"name": "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "value": "true"} in container["env"]
    told = next(d["data"]["cluster.toml"] for d in documents() if d["kind"] == "ConfigMap")
    assert tomllib.loads(told) == tomllib.loads((MANIFESTS / "cluster.toml").read_text())


def test_workers_on_kubernetes_are_told_the_same() -> None:
    manifest = (MANIFESTS / "cluster.yaml").read_text()
    for line in worker_environment():
        name, value = shlex.split(line)[1].split("=", 1)
        # The processors' workers take the scheduler's list.
        assert manifest.count(f'{{name: {name}, value: "{value}"}}') == 2

"""What Dask is told, in this process and on the workers that jobs start elsewhere."""

from __future__ import annotations

from typing import Any

WORKER_SETTINGS: dict[str, Any] = {
    # Nothing is served over HTTP: no dashboard, and nothing else that could show arguments.
    "distributed.worker.http.routes": [],
    # What only a dashboard shows is not measured: it took a tenth of the processor time (benchmarks/throughput.py).
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.log-length": 100,
    "distributed.admin.low-level-log-length": 100,
}
SETTINGS: dict[str, Any] = WORKER_SETTINGS | {
    "distributed.scheduler.http.routes": [],
    "distributed.scheduler.allowed-failures": 3,
    "distributed.scheduler.work-stealing": False,
    # Dask would look for its graphics processors by the numbers of the parent, and end where it finds others.
    "distributed.diagnostics.nvml": False,
}


def worker_environment() -> list[str]:
    """Give the lines of a shell that tell a worker the same."""
    names = {key: key.upper().replace(".", "__").replace("-", "_") for key in WORKER_SETTINGS}
    return [f"export DASK_{names[key]}='{value}'" for key, value in WORKER_SETTINGS.items()]

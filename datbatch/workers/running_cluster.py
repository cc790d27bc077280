"""Connect to a scheduler that others started: on this machine, or protected by TLS, or knowingly without."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from urllib.parse import urlsplit

from distributed import Client
from distributed.security import Security

from datbatch.errors import ClusterError, ConfigurationError
from datbatch.workers.cluster_file import ClusterFile

ANSWER_SECONDS = 10.0
FIRST_WORKER_SECONDS = 60.0


def connect_running(described: ClusterFile) -> Client:
    """Connect to a scheduler that others started.

    Raises
    ------
    ConfigurationError
        When none answers, or it is on a network without TLS.
    ClusterError
        When no worker comes within a minute.
    """
    address = described.address or _address_in(Path(described.scheduler_file).expanduser())
    if not (described.insecure or _is_protected(address)):
        raise ConfigurationError(
            "the scheduler is on a network and not protected by TLS: whoever reaches its port could run code as you",
            "Start it with TLS, or let datbatch start the pools, or write a cluster file with insecure = true.",
        )
    security = None
    if described.key_file:
        ca, cert, key = (
            str(Path(one).expanduser()) for one in (described.ca_file, described.cert_file, described.key_file)
        )
        security = Security(require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key)
    try:
        client = Client(address, timeout=ANSWER_SECONDS, security=security)
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        # TypeError: a tls:// address without credentials.
        raise ConfigurationError(
            "no scheduler answers at the given address",
            "Start one with `dask scheduler` (TLS needs the scheduler's own credentials here too), or leave --cluster "
            "out.",
        ) from error
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
    except TimeoutError:
        client.close()
        raise ClusterError(
            "the scheduler has no worker", "Start workers with `dask worker`, then call again."
        ) from None
    return client


def _address_in(scheduler_file: Path) -> str:
    try:
        return str(json.loads(scheduler_file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"the scheduler file cannot be read: {type(error).__name__}") from None


def _is_protected(address: str) -> bool:
    """Tell whether only this machine, or only holders of a certificate, can talk to a scheduler."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    return loopback or parts.scheme in ("tls", "wss")

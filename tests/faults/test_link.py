"""A network link that is cut for a while changes nothing: driver and worker in network namespaces of their own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.faults.conftest import with_key_of
from tests.pipeline import assert_same_content, granules_done, imaging_content, start_command, wait_until

pytestmark = pytest.mark.usefixtures("cheap_imaging")
PATIENCE_SECONDS = 240.0
HOST, WORKER = "10.213.7.1", "10.213.7.2"


@pytest.fixture
def far_side() -> Iterator[str]:
    """A network namespace at the other end of a virtual cable; the cable's near end is `dbnear`."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root with iproute2 can make a network namespace")
    with ExitStack() as stack:
        for words in (
            "netns add dbfar", "link add dbnear type veth peer name dbend netns dbfar",
            f"addr add {HOST}/30 dev dbnear", "link set dbnear up",
            f"-n dbfar addr add {WORKER}/30 dev dbend", "-n dbfar link set dbend up", "-n dbfar link set lo up",
        ):  # fmt: skip
            if subprocess.run(["ip", *words.split()], capture_output=True, check=False).returncode:
                pytest.skip("this machine allows no network namespace")
            if words.startswith("netns"):
                stack.callback(subprocess.run, ["ip", "netns", "del", "dbfar"], check=True)
        yield "dbfar"


def test_a_link_that_is_cut_and_mended_loses_nothing(tmp_path, archive, cheap_whole, config, far_side) -> None:
    own = with_key_of(cheap_whole, tmp_path / "store" / "cohort.zarr")
    cluster = tmp_path / "cluster.toml"
    cluster.write_text(f'kind = "running"\naddress = "tcp://{HOST}:18786"\ninsecure = true\n')
    quiet = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    python = [sys.executable, "-m"]
    scheduler = [*python, "distributed.cli.dask_scheduler", "--host", HOST, "--port", "18786", *quiet]
    worker = ["ip", "netns", "exec", far_side, *python, "distributed.cli.dask_worker", f"tcp://{HOST}:18786"]
    worker += ["--host", WORKER, "--nthreads", "1", "--local-directory", str(tmp_path / "dask"), *quiet]
    started = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        for words in (scheduler, worker)
    ]
    try:
        process = start_command("run", archive, own, "--config", config, "--cluster", cluster)
        wait_until(lambda: granules_done(own) or process.poll() is not None, patience_seconds=PATIENCE_SECONDS)
        subprocess.run(["ip", "link", "set", "dbnear", "down"], check=True)
        at_the_cut = granules_done(own)
        time.sleep(4)
        assert process.poll() is None
        assert at_the_cut < len(imaging_content(cheap_whole)["study"])
        subprocess.run(["ip", "link", "set", "dbnear", "up"], check=True)
        assert process.wait(timeout=PATIENCE_SECONDS) == 3
    finally:
        for one in started:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()
    assert_same_content(imaging_content(own), imaging_content(cheap_whole))

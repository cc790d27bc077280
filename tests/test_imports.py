"""The import rule of the house, read from the syntax trees."""

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "datbatch"
MAP = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
LEVELS = [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\| [\w ,]+ \| (`.*`) \|$", MAP, re.MULTILINE)]
ORDER = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")
ONE_DOOR = {
    "zarr": {f"cohort/{name}.py" for name in ("store", "layout", "shard", "shadow")},
    "obstore": {"location.py"},
    "distributed": {f"workers/{name}.py" for name in ("driver", "pools", "group")},
}
ARRAYS_ONLY = {"archive", "imaging", "simulation", "classifier", "relevance", "norms", "evaluation"}
FORBIDDEN_BELOW = {"dask", "distributed", "zarr", "xarray"}


def room(dotted: str) -> str:
    return dotted.split(".")[0]


def imported(path: Path) -> list[str]:
    """List the dotted names a module imports, wherever in it they stand."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_stands_before_it_and_zarr_and_distributed_have_one_door_each(path) -> None:
    here = room(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    names = imported(path)
    for name in names:
        if not name.startswith("datbatch."):
            continue
        there = room(name.removeprefix("datbatch."))
        if there == "__version__" or there == here:
            continue
        assert ORDER[there] < ORDER[here] or (path.name, there) == ("loader.py", "cohort"), f"{here} imports {there}"
    place = path.relative_to(PACKAGE).as_posix()
    roots = {name.split(".")[0] for name in names}
    for library, doors in ONE_DOOR.items():
        assert library not in roots or place in doors, f"{place} imports {library}"
    if place.split("/")[0] in ARRAYS_ONLY:
        assert not roots & FORBIDDEN_BELOW, f"{place} imports {roots & FORBIDDEN_BELOW}"


def test_folders_and_files_stay_small_enough_to_be_seen_at_a_glance() -> None:
    places = Counter(path.parent for path in PACKAGE.rglob("*.py"))
    assert {str(folder): files for folder, files in places.items() if files > 16} == {}
    # The list of errors is read as a table.
    read = [path for path in MODULES if path.name != "errors.py"]
    lines = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in read}
    assert {path: length for path, length in lines.items() if length > 420} == {}


HEAVY = ("torch", "xarray", "zarr", "distributed", "matplotlib", "pandas", "numba")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import datbatch.schema, datbatch.cli; datbatch.cli.build_parser()", HEAVY),
        # The command, its workers and the processes of the studies would each wait a second, and hold 200 MB more.
        ("import datbatch.stages.imaging", ("torch", "xarray", "matplotlib", "pandas")),
        ("import datbatch.stages.imaging_task", ("torch", "xarray", "matplotlib", "pandas", "numba", "scipy")),
    ],
    ids=["the package and its help", "imaging", "a worker that images"],
)
def test_nothing_loads_a_heavy_library_that_it_does_not_need(statement, heavy) -> None:
    probe = f"import sys; {statement}; print([m for m in {heavy!r} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"

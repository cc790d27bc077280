"""What SECURITY.md promises and a syntax tree can show."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "datbatch"
MODULES = sorted(PACKAGE.rglob("*.py"))
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CHANNEL = "workers/losable.py"
"""Objects between a process and the one that it started itself: the only pickles, and none of them from a file."""
RUNNERS = {"eval", "exec", "compile", "__import__"}
LOADERS = {("torch", "load"), ("pandas", "read_pickle"), ("pd", "read_pickle"), ("yaml", "load")}
BACK_DOORS = {"weights_only", "allow_pickle"}


def called(node: ast.Call) -> tuple[str, str]:
    """Name the object and the attribute of a call, as far as they are names."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return (function.value.id if isinstance(function.value, ast.Name) else "...", function.attr)
    return "", function.id if isinstance(function, ast.Name) else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_on_disk_is_ever_unpickled_or_run(path) -> None:
    unpicklers = UNPICKLERS - ({"pickle"} if path.relative_to(PACKAGE).as_posix() == CHANNEL else set())
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & unpicklers
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in unpicklers
        elif isinstance(node, ast.Call):
            owner, name = called(node)
            assert (owner, name) not in LOADERS, f"line {node.lineno}"
            assert owner or name not in RUNNERS, f"line {node.lineno}"
            assert not any(
                k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                for k in node.keywords
            ), f"line {node.lineno}: a shell"
            for keyword in node.keywords:
                if keyword.arg in BACK_DOORS:
                    safe = keyword.arg == "weights_only"
                    assert isinstance(keyword.value, ast.Constant), f"line {node.lineno}"
                    assert keyword.value.value is safe, f"line {node.lineno}"
            if (owner, name) == ("np", "load"):
                assert "allow_pickle" in {k.arg for k in node.keywords}, f"line {node.lineno}"


def test_only_the_channel_unpickles_and_it_reads_no_file() -> None:
    tree = ast.parse((PACKAGE / CHANNEL).read_text(encoding="utf-8"))
    (channel,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Channel")
    pickles, inside = (
        sum(isinstance(node, ast.Name) and node.id == "pickle" for node in ast.walk(part)) for part in (tree, channel)
    )
    assert pickles == inside > 0
    calls = {called(node)[1] for node in ast.walk(channel) if isinstance(node, ast.Call)}
    assert not calls & {"open", "load", "read_bytes", "makefile", "fromfile", "memmap", "connect"}


def test_the_check_sees_what_it_looks_for() -> None:
    guilty = ast.parse("import torch\ntorch.load('x')\neval('1')").body
    calls = [node for statement in guilty for node in ast.walk(statement) if isinstance(node, ast.Call)]
    assert [called(node) for node in calls] == [("torch", "load"), ("", "eval")]

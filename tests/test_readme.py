"""What the README shows runs as it stands there."""

import ast
import re
from pathlib import Path

from datbatch.cohort.store import models_path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_five_queries_run_and_give_values(cohort) -> None:
    program = ast.parse(BLOCKS[0].replace("demo/cohort.zarr", str(cohort)))
    scope: dict[str, object] = {}
    answers = []
    for statement in program.body:
        if isinstance(statement, ast.Expr):
            answers.append(eval(compile(ast.Expression(statement.value), "README", "eval"), scope))
        else:
            exec(compile(ast.Module([statement], []), "README", "exec"), scope)
    by_site, by_label, codes, correlation, inconsistent = answers
    assert set(by_site.site.values) > {"A", "B"}
    assert {"negative", "positive"} <= set(by_label.label.values)
    assert codes.sum() > 0
    assert -1 <= float(correlation) <= 1
    assert inconsistent.dims == ("study",)


def test_the_python_lines_run(cohort, archive, some_study) -> None:
    (card,) = models_path(cohort).glob("*/card.json")
    program = BLOCKS[1].replace("projections.dcm", str(some_study[0]))
    program = program.replace("demo/cohort.models/NAME", str(card.parent))
    scope: dict[str, object] = {}
    exec(program.replace("demo/cohort.zarr", str(cohort)), scope)
    assert scope["explained"].uptake.shape == scope["cohort"].uptake.shape[1:]


def test_it_is_short_and_begins_with_its_two_commands() -> None:
    assert len(README.splitlines()) <= 250
    assert re.findall(r"^    (.+?)(?:  .*)?$", README, flags=re.MULTILINE)[:2] == ["make demo", "make test"]


def test_every_comparison_is_a_row_of_the_benchmarks() -> None:
    shown = set(re.findall(r"^\| .* \| `benchmark-.*$", README, flags=re.MULTILINE))
    assert 0 < len(shown) <= 15
    assert shown <= set((ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").splitlines())


def test_every_folder_of_the_map_exists_and_none_is_left_out() -> None:
    named = set(re.findall(r"^\| `(datbatch/\w+)` \|", README, flags=re.MULTILINE))
    there = {f"datbatch/{p.name}" for p in (ROOT / "datbatch").iterdir() if (p / "__init__.py").exists()}
    assert named == there

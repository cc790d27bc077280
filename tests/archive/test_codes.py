import ast
import re
from pathlib import Path

import pytest

import datbatch
from datbatch import schema
from datbatch.archive.codes import explain_code

PACKAGE = Path(datbatch.__file__).parent
OTHER_WORDS = {"shepp-logan", "ram-lak", "utf-8", "utf-8-sig", "latin-1", "pylibjpeg-openjpeg"}


def spelled_codes(folder: str) -> set[str]:
    """Every literal of a package that looks like a code: lower-case words with hyphens."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (PACKAGE / folder).rglob("*.py"))
    constants = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {c for c in constants if isinstance(c, str) and re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", c)} - OTHER_WORDS


@pytest.mark.parametrize("folder", ["archive", "imaging"])
def test_every_code_that_a_study_can_bear_is_explained(folder) -> None:
    for code in spelled_codes(folder):
        meaning, remedy = explain_code(code)
        assert "does not know" not in meaning, code
        assert remedy, code


@pytest.mark.parametrize("code", ["motion", *schema.QUANTIFICATION_FLAGS])
def test_flags_of_studies_are_explained(code) -> None:
    meaning, remedy = explain_code(code)
    assert "does not know" not in meaning
    assert meaning.endswith(".")
    assert remedy != "None."
    assert remedy.endswith(".")

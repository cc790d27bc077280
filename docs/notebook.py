"""Run the notebook without a kernel and keep its outputs: `python docs/notebook.py demo/cohort.zarr`."""

from __future__ import annotations

import ast
import base64
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

NOTEBOOK = Path(__file__).with_name("five_questions.ipynb")
PICTURE_DPI = 80


def execute(notebook: dict[str, Any], cohort: str) -> dict[str, Any]:
    """Give the notebook with the outputs that its cells have on a cohort.

    Parameters
    ----------
    notebook : dict
        Of format 4.
    cohort : str
        Store, in the place of `demo/cohort.zarr`.
    """
    # A picture that the caller has open is none of the notebook.
    plt.close("all")
    matplotlib.use("Agg")
    scope: dict[str, Any] = {}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            outputs = _run("".join(cell["source"]).replace("demo/cohort.zarr", cohort), scope, count)
            cell = {**cell, "execution_count": count, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _run(source: str, scope: dict[str, Any], count: int) -> list[dict[str, Any]]:
    program = ast.parse(source)
    last = program.body.pop() if isinstance(program.body[-1], ast.Expr) else None
    said, outputs = io.StringIO(), []
    with redirect_stdout(said):
        exec(compile(program, "cell", "exec"), scope)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), scope) if last else None
    if said.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": said.getvalue().splitlines(keepends=True)})
    # A semicolon at the end hushes the last value, as in notebooks.
    if value is not None and not source.rstrip().endswith(";"):
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "to_html"):
            data["text/html"] = value.to_html().splitlines(keepends=True)
        outputs.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    for number in plt.get_fignums():
        target = io.BytesIO()
        plt.figure(number).savefig(target, format="png", dpi=PICTURE_DPI, metadata={"Software": None})
        data = {"image/png": base64.b64encode(target.getvalue()).decode() + "\n", "text/plain": ["<Figure>"]}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    plt.close("all")
    return outputs


if __name__ == "__main__":
    ran = execute(json.loads(NOTEBOOK.read_text(encoding="utf-8")), sys.argv[1])
    NOTEBOOK.write_text(json.dumps(ran, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

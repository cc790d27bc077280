"""What the pages and the help say is what the program takes, what the code knows, and what runs."""

import argparse
import json
import os
import pty
import re
import runpy
import select
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml

from datbatch import __version__, schema
from datbatch.archive.dicom.header import MAX_FILE_BYTES, MAX_INFLATED_BYTES
from datbatch.archive.participants import KEYS
from datbatch.cli import build_parser, main
from datbatch.cohort.lease import BEAT_SECONDS, WATCH_SECONDS
from datbatch.commands.completion import completion_script
from datbatch.config import Config, EvaluateConfig, QuantifyConfig, ReconstructConfig, StoreConfig
from datbatch.evaluation.certainty import learn_margin
from datbatch.imaging.quantify import CERTAIN_SIDE, SIDE_NOISE
from datbatch.relevance.tables import FUNCTIONS
from datbatch.stages.evaluate import BLURS_FWHM_MM
from datbatch.workers.driver import DRAIN_SECONDS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "datbatch"
PAGES = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOK = ROOT / "docs" / "five_questions.ipynb"
ALL_PAGES = sorted([*PAGES, *ROOT.glob("*.md"), *(ROOT / "cluster").rglob("*.md")])
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in ALL_PAGES}
WITH_TABLES = runpy.run_path(str(ROOT / "docs" / "tables.py"))["with_tables"]
COMMAND = re.compile(r"^ {4,7}(?:\.venv/bin/)?(datbatch .*?)(?: +#.*| & .*)?$", flags=re.MULTILINE)
INLINE = re.compile(r"`(datbatch [\w-]+ [^`<>|]*\.[^`<>|]*)`")
TOML = [block for text in TEXTS.values() for block in re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)]
LINKS = [
    (page, link)
    for page in ALL_PAGES
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page.relative_to(ROOT).as_posix()])
    if "://" not in link
]


def commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """List the parser of every command, with those of the formats of `export`."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [found for action in inner for one in action.choices.values() for found in (one, *commands(one))]


@pytest.mark.parametrize(
    "line", sorted({c for text in TEXTS.values() for p in (COMMAND, INLINE) for c in p.findall(text)})
)
def test_every_command_line_is_one_that_the_program_takes(line) -> None:
    build_parser().parse_args(line.split()[1:])


@pytest.mark.parametrize("command", commands(build_parser()), ids=lambda c: c.prog)
def test_the_help_of_every_command_has_an_example_that_the_program_takes(command) -> None:
    example = (command.epilog or "").removeprefix("example: ")
    assert f"{example} ".startswith(f"{command.prog} ")
    build_parser().parse_args(example.split()[1:])


def test_every_command_is_named_in_the_pages() -> None:
    words = "\n".join(TEXTS.values())
    missing = {command.prog for command in commands(build_parser()) if command.prog not in words}
    # Made by `make demo`.
    assert missing <= {"datbatch demo", "datbatch simulate"}


@pytest.mark.parametrize("block", TOML)
def test_every_parameter_file_is_taken(block) -> None:
    Config.from_dict(tomllib.loads(block))


def test_the_rules_that_the_pages_show_are_rules_for_the_papers_network() -> None:
    from datbatch.classifier import build_network
    from datbatch.relevance import propagate

    (rules,) = (found for block in TOML if (found := tomllib.loads(block).get("explain", {}).get("rules")))
    torch = pytest.importorskip("torch")
    network = build_network((10, 10, 10))
    relevance = propagate(network, torch.ones(1, 1, 10, 10, 10), rules=rules)
    assert relevance.shape == (1, 1, 10, 10, 10)


@pytest.mark.parametrize("name", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_the_tables_are_those_of_the_code(name) -> None:
    text = TEXTS[name]
    assert WITH_TABLES(text) == text, "call `python docs/tables.py`"


def test_a_changed_table_would_be_noticed() -> None:
    page = "<!-- table: errors -->\n| old |\n<!-- end -->\n"
    assert "`store-in-use`" in WITH_TABLES(page)


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: getattr(value, "name", value))
def test_every_link_leads_somewhere(page, link) -> None:
    name, _, anchor = link.partition("#")
    target = page if not name else page.parent / name
    assert target.exists()
    if anchor:
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


FIRST_CERTAIN = next(n for n in count(2) if learn_margin(np.linspace(0, 1, n), EvaluateConfig().uncertain_share))
FACTS = {
    "SECURITY.md": [f"inflates ({MAX_INFLATED_BYTES >> 20} MiB) and reads ({MAX_FILE_BYTES >> 20} MiB)"],
    "cluster/README.md": [
        f"gives running work {DRAIN_SECONDS:g} s",
        f"renews it every {BEAT_SECONDS:g} s",
        f"{WATCH_SECONDS:g} s of watching",
    ],
    "docs/errors.md": [f"Running work gets {DRAIN_SECONDS:g} s"],
    "docs/how-to.md": [
        f"this needs {FIRST_CERTAIN} validation studies or more",
        f"blur of {BLURS_FWHM_MM[0]:g} to {BLURS_FWHM_MM[-1]:g} mm",
        *(f"`{column}`" for column in (*KEYS, *schema.READS)),
        *(f"`{rule}" for rule in FUNCTIONS),
    ],
    "docs/method.md": [
        f"{ReconstructConfig().cutoff_per_cm:g} cycles/cm",
        f"{QuantifyConfig().reference_percentile:g}th percentile",
        f"{CERTAIN_SIDE:g} standard deviations",
        f"is {SIDE_NOISE:g} divided by the square root of the counts",
    ],
    "docs/scaling.md": [f"A granule is {StoreConfig().granule_studies} studies"],
    "docs/store.md": [f"{' x '.join(map(str, schema.SHAPE))} voxels of {schema.SPACING_MM:g} mm"],
}


@pytest.mark.parametrize(("name", "fact"), [(name, fact) for name, facts in FACTS.items() for fact in facts])
def test_a_figure_of_a_page_is_that_of_the_code(name, fact) -> None:
    assert fact in " ".join(TEXTS[name].split())


def test_every_path_of_the_package_and_every_benchmark_that_a_page_names_exists() -> None:
    words = "\n".join(TEXTS.values())
    scripts = {f"benchmarks/{name}.py" for name in re.findall(r"benchmark-([a-z_]+)", words)}
    paths = set(re.findall(r"`((?:datbatch|benchmarks|tests|docs)/[a-z0-9_/.]+)`", words)) | scripts
    assert not {path for path in paths if not (ROOT / path).exists()}


def test_the_map_of_who_imports_whom_has_every_module_and_folder() -> None:
    rows = re.findall(r"^\| [\w ,]+ \| (`.*`) \|$", TEXTS["CONTRIBUTING.md"], flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert sorted(named) == sorted(modules | {path.parent.name for path in PACKAGE.glob("*/__init__.py")})


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if "```python" in text and name != "README.md"])
def test_the_python_of_a_page_runs_from_top_to_bottom(name, cohort) -> None:
    matplotlib.use("Agg")
    scope: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXTS[name], flags=re.DOTALL):
        exec(compile(block.replace("demo/cohort.zarr", str(cohort)), name, "exec"), scope)
    plt.close("all")


def test_the_notebook_answers_its_five_questions(cohort) -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    ran = runpy.run_path(str(ROOT / "docs" / "notebook.py"))["execute"](notebook, str(cohort))
    code = [cell for cell in ran["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in code)
    kept = [[output["output_type"] for output in c["outputs"]] for c in notebook["cells"] if c["cell_type"] == "code"]
    assert [[output["output_type"] for output in cell["outputs"]] for cell in code] == kept
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"]) >= 3


def test_the_notebook_is_small_and_names_no_place_of_this_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert "/tmp/" not in text
    assert "Error" not in text


def test_citation_and_changelog_name_this_version_and_the_citation_the_papers_doi() -> None:
    citation: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "license", "type"} <= citation.keys()
    assert citation["version"] == __version__
    (paper,) = citation["references"]
    assert paper["doi"] in (ROOT / "README.md").read_text(encoding="utf-8")
    assert {"title", "authors", "journal", "year", "volume", "start", "end"} <= paper.keys()
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[(.+?)\]", text, flags=re.MULTILINE)[0] == "Unreleased"
    assert f"## [{__version__}]" in text


OWN = "own_file"


def actions(parser: argparse.ArgumentParser, line: str = "datbatch") -> Iterator[tuple[str, argparse.Action]]:
    """Give what each command takes, with what is typed before it."""
    before = line
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from actions(command, f"{line} {name}")
        elif action.option_strings:
            yield f"{line} {action.option_strings[-1]}", action
        else:
            yield before, action
            before += " x"


def takes_path(action: argparse.Action) -> bool:
    try:
        return callable(action.type) and isinstance(action.type(OWN), Path)
    except (argparse.ArgumentTypeError, ValueError):
        return False


TYPED = {
    "datbatch exp": {"explain", "explore", "export"},
    "datbatch export d": {"dicom"},
    "datbatch train --pre": {"--preset"},
    "datbatch completion f": {"fish"},
} | {
    f"{line} own_": {OWN} if takes_path(action) else set()
    for line, action in actions(build_parser())
    if action.nargs != 0 and not action.choices
}
"""What is typed before the tabulator, and what can come of its last word."""


def test_every_action_that_takes_a_path_and_no_other_completes_paths() -> None:
    parser = build_parser()
    completion_script(parser, "bash")
    completing = {line: hasattr(action, "complete") for line, action in actions(parser)}
    assert completing == {line: takes_path(action) for line, action in actions(parser)}
    paths = {line.removeprefix("datbatch ") for line in completing if completing[line]}
    assert {"run", "run x", "run --config", "run --participants", "run --cluster", "study --model"} <= paths


@pytest.fixture
def completion(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The script for a shell, where that is installed."""
    if shutil.which(request.param) is None:
        pytest.skip(f"this machine has no {request.param}")
    path = tmp_path / f"datbatch.{request.param}"
    path.write_text(completion_script(build_parser(), request.param))
    (tmp_path / OWN).touch()
    return path


@pytest.mark.parametrize("completion", ["bash"], indirect=True)
def test_a_real_bash_completes_commands_formats_options_and_paths(completion) -> None:
    press_tab = """
        source datbatch.bash
        tab() {
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
            $(complete -p datbatch | sed 's/.*-F \\([^ ]*\\).*/\\1/') datbatch "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[@]}"
        }
    """
    press_tab += "; ".join(f"tab {line}" for line in TYPED)
    done = subprocess.run(["bash", "-c", press_tab], cwd=completion.parent, capture_output=True, text=True, check=True)
    assert [set(line.split()) for line in done.stdout.splitlines()] == list(TYPED.values())


@pytest.mark.parametrize("completion", ["fish"], indirect=True)
def test_a_real_fish_completes_commands_formats_options_and_paths(completion) -> None:
    press_tab = "".join(f"; echo ':'; complete -C '{line}'" for line in TYPED)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {completion}{press_tab}"], cwd=completion.parent,
        env=os.environ | {"HOME": str(completion.parent)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = done.stdout.split(":\n")[1:]
    assert [{word.split("\t")[0] for word in words.splitlines()} for words in told] == list(TYPED.values())


@pytest.mark.parametrize("completion", ["zsh"], indirect=True)
def test_a_real_zsh_completes_commands_formats_options_and_paths(completion) -> None:
    # It completes at a terminal alone.
    terminal, far_end = pty.openpty()
    zsh = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=far_end, stdout=far_end, stderr=far_end, start_new_session=True,
        cwd=completion.parent, env=os.environ | {"TERM": "dumb", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(far_end)

    def told(typed: str) -> str:
        os.write(terminal, f"{typed}echo do''ne\n".encode())
        seen = b""
        # Keys that come before the next prompt are not the line editor's.
        while not re.search(rb"\ndone\r.*ready> ", seen, flags=re.DOTALL):
            assert select.select([terminal], [], [], 60.0)[0], seen
            seen += os.read(terminal, 65536)
        return seen.decode()

    try:
        told(f'PROMPT="ready> "; autoload -Uz compinit; compinit -u -D; eval "$(cat {completion.name})"; ')
        for line, words in TYPED.items():
            # Ctrl-U empties the line again.
            answer = told(f"{line}\t\x15")
            listed = set(re.findall(r"^(\S+) +-- ", answer, flags=re.MULTILINE))
            filled_in = {word for word in words | {OWN} if f"{line.rsplit(' ', 1)[0]} {word} " in answer}
            assert listed | filled_in == words, line
    finally:
        zsh.kill()
        zsh.wait()
        os.close(terminal)


def test_a_reader_that_stops_early_hears_no_complaint() -> None:
    program = Path(sys.executable).parent / "datbatch"
    with subprocess.Popen(
        [program, "completion", "bash"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_knows_the_commands(shell, capsys) -> None:
    assert main(["completion", shell]) == 0
    script_text = capsys.readouterr().out
    assert all(name in script_text for name in ("evaluate", "completion", "leave-one-site-out"))

"""`datbatch config`: the parameters in force and where they come from, and their JSON schema."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import tomllib
from itertools import pairwise
from typing import Any, get_type_hints

import msgspec

from datbatch import __version__
from datbatch.commands.command import Answer, add_command, config_option, describe, location
from datbatch.config import KNOWN_BY, Config
from datbatch.errors import StoreError
from datbatch.location import Location
from datbatch.ranges import allowed


def add(parsers: Any) -> None:
    """Describe `config show|schema`."""
    words = "show the parameters: values in force, ranges, JSON schema"
    made = describe(parsers, "config", words, "datbatch config show")
    inner = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    words = "every parameter with its value, where that comes from and what is allowed, as a parameter file"
    shown = add_command(inner, "show", show, words, "datbatch config show cohort.zarr --config parameters.toml")
    shown.add_argument("cohort", type=location, nargs="?", help="store, whose own parameters replace the defaults")
    config_option(shown)
    add_command(inner, "schema", schema, "JSON schema of a parameter file, for editors", "datbatch config schema")


def show(options: argparse.Namespace) -> Answer:
    """Show every parameter: of the file, else of the store, else the default."""
    layers = {"default": Config().to_dict()}
    if options.cohort is not None:
        layers["store"] = _made_with(options.cohort)
    if options.config is not None:
        checked = Config.from_toml(options.config).to_dict()
        given = tomllib.loads(options.config.read_text(encoding="utf-8"))
        layers["file"] = {name: {key: checked[name][key] for key in keys} for name, keys in given.items()}
    lines = [f"# datbatch {__version__}: each parameter, where its value comes from, and what is allowed"]
    values: dict[str, dict[str, Any]] = {}
    for section, kind in get_type_hints(Config).items():
        lines += ["", f"[{section}]"]
        values[section] = {}
        for key, hint in get_type_hints(kind, include_extras=True).items():
            source = [name for name, layer in layers.items() if key in layer.get(section, {})][-1]
            value, words = layers[source][section][key], allowed(hint)
            values[section][key] = {"value": value, "from": source, "allowed": words}
            # A file of which only the digest is known cannot be given again.
            mark = "# " if str(value).startswith(KNOWN_BY) else ""
            lines.append(f"{mark}{key} = {as_toml(value)}  # {source}; {words}")
    return Answer("\n".join(lines), values)


def schema(_: argparse.Namespace) -> Answer:
    """Show the JSON schema."""
    made = parameter_schema()
    return Answer(json.dumps(made, indent=1), made)


def parameter_schema() -> dict[str, Any]:
    """Give the JSON schema of a parameter file."""
    made = msgspec.json.schema(Config)
    for kind in (Config, *get_type_hints(Config).values()):
        described = made["$defs"][kind.__name__]
        described["additionalProperties"] = False
        for key, words in descriptions(kind).items():
            described["properties"][key]["description"] = words
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def descriptions(kind: type[Any]) -> dict[str, str]:
    """Read the docstrings below the fields of a dataclass from its source."""
    found = {}
    # The tree is walked level by level: a field and its docstring follow each other.
    for pair in pairwise(ast.walk(ast.parse(inspect.getsource(kind)))):
        match pair:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                found[name] = inspect.cleandoc(words)
    return found


def as_toml(value: Any) -> str:
    """Write a value as TOML does."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {as_toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def _made_with(cohort: Location) -> dict[str, Any]:
    from datbatch.archive.origin import read_origin
    from datbatch.cohort.store import Store

    try:
        return read_origin(cohort).config.to_dict()
    except StoreError:
        # A store without its companion files still records the parameters, without paths.
        made: dict[str, Any] = json.loads(Store(cohort).attributes.get("config", "{}"))
        return made

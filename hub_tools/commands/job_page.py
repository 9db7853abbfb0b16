"""The page of the job file's format, made from its schema and from what the judges take."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from hf_relabel.builders.job import job_file, stages, steps
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.judges.registry import JUDGES

NAME = "job-file.md"
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}
_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
_OPENING = """
A job file is one YAML file that holds everything `hf relabel run` does. Write one, look at what it would take, run it:

```bash
hf relabel run --new job.yaml train.jsonl --endpoint http://127.0.0.1:8080
hf relabel run job.yaml --plan
hf relabel run job.yaml
```

Every mistake in a file is shown at once, with its line. The shortest one is:

```yaml
source: train.jsonl
stages:
  - judge: listwise
    endpoints: http://127.0.0.1:8080
build: {out: cleaned}
```

## Parameters

What a file names under `parameters` fills `${name}` anywhere in its texts. Each has a default, or `null` where it must
be given: `hf relabel run job.yaml --set tgi_url=http://127.0.0.1:8080`. A value is filled in after the file is read, so
it never becomes structure. Tokens never stand in a job file: `token_env` names the variable that holds one.
"""


def page() -> str:
    """The whole page, but for its first line."""
    schema = Job.model_json_schema()
    said = _docstrings()
    parts = ["# Job files", _OPENING.strip(), "## The whole file", _table(schema, said["Job"])]
    for name, definition in _in_order(schema):
        parts += [f"## {_heading(name)}", _about(definition["description"]), _table(definition, said[name])]
    return "\n\n".join([*parts, *_judges()])


def _docstrings() -> dict[str, dict[str, str]]:
    """What is written below each setting, by class and name. Pydantic could read it too, at every start."""
    found: dict[str, dict[str, str]] = {}
    for each in (each for module in (job_file, stages, steps) for each in ast.parse(inspect.getsource(module)).body):
        if isinstance(each, ast.ClassDef):
            found[each.name] = {
                field.target.id: " ".join(str(text.value.value).split())
                for field, text in zip(each.body, each.body[1:], strict=False)
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            }
    return found


def _in_order(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts of the schema, in the order in which settings name them."""
    definitions, seen = schema["$defs"], set()
    waiting = [schema]
    while waiting:
        for name in _referred(waiting.pop(0)["properties"]):
            if name not in seen:
                seen.add(name)
                waiting.append(definitions[name])
                yield name, definitions[name]


def _referred(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rsplit("/", 1)[1]
        for below in schema.values():
            yield from _referred(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from _referred(below)


def _heading(name: str) -> str:
    """`push_model` for PushModelSettings: as a job file spells it."""
    words = name.removesuffix("Settings")
    spelt = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in words).removeprefix("_")
    return {"stage": "stages", "endpoint": "endpoints", "limit": "limits", "member": "others"}.get(spelt, spelt)


def _table(schema: Mapping[str, Any], said: Mapping[str, str]) -> str:
    needed = schema.get("required", ())
    lines = []
    for name, value in schema["properties"].items():
        default = "needed" if name in needed else _default(value)
        lines.append(f"| `{name}` | {_type(value)} | {default} | {_cell(said.get(name, ''))} |")
    return "\n".join(["| setting | what it takes | unless given | meaning |", "| --- | --- | --- | --- |", *lines])


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = _heading(schema["$ref"].rsplit("/", 1)[1])
        return f"[{name}](#{name})"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    bounds = [f"{words} {schema[name]:g}" for name, words in _BOUNDS.items() if name in schema]
    return ", ".join([_TYPES.get(schema.get("type", ""), "anything"), *bounds])


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    if isinstance(value, list) and value:
        return f"`[{', '.join(map(str, value))}]`"
    return "" if isinstance(value, dict | list) or value in (None, "") else f"`{json.dumps(value)}`".replace('"', "")


def _judges() -> Iterator[str]:
    yield "## Judges and their settings"
    yield (
        "An entry `judge` has a `kind` and any of its settings. `permutations` (of listwise and ranking) asks in that"
        " many orders, `samples` that many times with seeds of their own (by majority unless `combine` says otherwise)."
        " `answer` stands for `span` and then `ranking` in two orders, and takes the settings of both."
        " `saved-replies` takes `file`, replies that RLHN saved, and asks nobody."
    )
    for kind, make in sorted(JUDGES.items()):
        yield f"### {kind}"
        yield _about(make.__doc__ or "")
        parameters = inspect.signature(make).parameters.items()
        lines = [f"| `{name}` | {_value(each.default)} |" for name, each in parameters if name != "permutation"]
        yield "\n".join(["| setting | unless given |", "| --- | --- |", *lines])


def _about(docstring: str) -> str:
    """What a docstring opens with, without its examples."""
    return _cell(inspect.cleandoc(docstring).split("\n\n")[0])


def _value(default: object) -> str:
    if default is inspect.Parameter.empty:
        return "needed"
    if isinstance(default, frozenset | set | tuple | list):
        return f"`[{', '.join(sorted(map(str, default)))}]`" if default else ""
    plain = isinstance(default, str | bool | int | float)
    return f"`{json.dumps(default).strip(chr(34))}`" if plain and default != "" else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", r"\<")

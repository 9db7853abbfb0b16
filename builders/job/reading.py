"""Reading job files: YAML, the parameters filled in, and everything that is wrong said at once, with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hf_relabel.builders.errors import ConfigError, Mistakes
from hf_relabel.builders.job.job_file import Job, steps_missing
from hf_relabel.builders.job.stages import StageSettings
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.problems import Place, problems
from hf_relabel.builders.sources.paths import did_you_mean_beside

if TYPE_CHECKING:
    import yaml

_PARAMETER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@expects(path=PATH)
def load_job(path: str | Path, parameters: Mapping[str, str] | None = None) -> Job:
    """Read a job file, a path or the name of one that ships with the package (`rlhn-fever`).

    Example:
            job = load_job("rlhn-fever", {"tgi_url": "http://127.0.0.1:8080"})
            print(job.source.location, [stage.judge["kind"] for stage in job.stages])

    Args:
        parameters: values for the parameters that the file names, in place of their defaults.

    Raises:
        ConfigError: the file is missing or is not YAML.
        Mistakes: all unknown and wrong settings and missing parameters of the file, a ConfigError too.
    """
    file = find_job_file(path)
    return parse_job(file.read_text(encoding="utf-8"), parameters, name=str(path))


@expects(path=PATH)
def load_stages(path: str | Path, parameters: Mapping[str, str] | None = None) -> tuple[StageSettings, ...]:
    """The stages of a job file, for a source of one's own: that of the file may be absent, and what it needs is not
    asked for.

    Args:
        path, parameters: as for `load_job`.

    Raises:
        As `load_job` does.
    """
    text = find_job_file(path).read_text(encoding="utf-8")
    return parse_job(text, parameters, name=str(path), source="another").stages


def find_job_file(path: str | Path) -> Path:
    """The file itself, or the one of that name that ships with the package."""
    file = Path(path)
    if file.is_file():
        return file
    shipped = shipped_job_files()
    name = str(path).removesuffix(".yaml")
    if name in shipped:
        return shipped[name]
    near = did_you_mean_beside(file) or did_you_mean(name, shipped)
    raise ConfigError(f"There is no job file {str(path)!r}.{near} Ready ones are: {', '.join(shipped)}.")


def shipped_job_files() -> dict[str, Path]:
    """The job files that ship with the package, by name."""
    folder = Path(__file__).parent / "files"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def parse_job(
    text: str, parameters: Mapping[str, str] | None = None, *, name: str = "job file", source: str | None = None
) -> Job:
    """Read the text of a job file. See `load_job`.

    Args:
        source: takes the place of the one in the file.
    """
    node, data = _read(text, name)
    if source is not None:
        data["source"] = {"location": source}
    given, defaults = dict(parameters or {}), data.pop("parameters", None) or {}
    if not isinstance(defaults, dict):
        raise ConfigError(f"{name}: `parameters` must map names to defaults.")
    values = {**defaults, **{name: value for name, value in given.items() if name in defaults}}
    found = [*_twice(node), *_unknown_parameters(given, defaults), *_unfilled(data, values)]
    try:
        job = Job.model_validate(_filled(data, values))
    except ValidationError as error:
        # What stands in for a parameter that is missing is wrong for that reason alone.
        found += [(place, line) for place, line in problems(error, Job) if place and not _PARAMETER.search(line)]
        # pydantic looks at the whole only once its parts are right.
        found += [((name,), f"{line[:1].upper()}{line[1:]}.") for name, line in steps_missing(data)]
    if found:
        raise Mistakes(name, _with_lines(node, found))
    return job


def _read(text: str, name: str) -> tuple[yaml.Node, dict[str, Any]]:
    """The file as YAML's nodes, which know their lines, and as plain values."""
    import yaml

    try:
        node, data = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{name} is not valid YAML: {detail}.") from error
    if node is None or not isinstance(data, dict):
        raise ConfigError(f"{name} holds no settings. A job file needs at least `source` and `stages`.")
    return node, data


def _twice(node: yaml.Node, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Settings that are given twice, of which YAML would take the last."""
    seen = set()
    for step, _, below in _below(node):
        if step in seen:
            yield (*place, step), f"`{step}` is given twice."
        seen.add(step)
        yield from _twice(below, (*place, step))


def _below(node: yaml.Node) -> Iterator[tuple[int | str, yaml.Node, yaml.Node]]:
    """(name or number, the node to show, the node itself) of what is in a node."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        yield from ((str(key.value), key, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from ((number, value, value) for number, value in enumerate(node.value))


def _unknown_parameters(given: Mapping[str, str], defaults: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    known = ", ".join(map(str, defaults)) or "none"
    for name in given:
        if name not in defaults:
            yield (
                ("parameters",),
                f"There is no parameter {name!r}.{did_you_mean(name, map(str, defaults))} It has: {known}.",
            )


def _unfilled(value: Any, parameters: Mapping[str, Any], place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Parameters that a text needs and that have no value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inside:
        yield from _unfilled(item, parameters, (*place, step))
    if isinstance(value, str):
        for parameter in dict.fromkeys(_PARAMETER.findall(value)):
            if parameters.get(parameter) is None:
                yield place, f"Needs the parameter {parameter!r}. Give it with --set {parameter}=…."


def _filled(value: Any, parameters: Mapping[str, Any]) -> Any:
    """Fill `${parameter}` in texts. Filled in after YAML is read, so that a value can never become structure."""
    if isinstance(value, dict):
        return {key: _filled(item, parameters) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, parameters) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PARAMETER.fullmatch(value)
    if whole and parameters.get(whole[1]) is not None:
        return parameters[whole[1]]
    return _PARAMETER.sub(lambda match: str(parameters.get(match[1]) or match[0]), value)


def _with_lines(node: yaml.Node, found: list[tuple[Place, str]]) -> list[str]:
    """Each once, in the order of the file."""
    lines = sorted({(_line(node, place), text) for place, text in found})
    return [f"line {line}: {text}" for line, text in lines]


def _line(node: yaml.Node, place: Place) -> int:
    """The line of a place, or of the nearest that is above it in the file."""
    line = int(node.start_mark.line) + 1
    for wanted in place:
        for step, shown, below in _below(node):
            if step == wanted:
                node, line = below, int(shown.start_mark.line) + 1
    return line

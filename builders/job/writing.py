"""A commented job file to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import write_whole
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.reading import parse_job
from hf_relabel.builders.messages.program import program

TEMPLATE = Path(__file__).parent / "files" / "new.yaml.jinja"


def write_new_job(
    path: str | Path,
    source: str,
    judge: Mapping[str, Any],
    endpoints: Sequence[Any] = (),
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Job:
    """Write a job file with a comment for each step, and what is given filled in. It can be run as it is.

    Args:
        path: of the new file.
        source: as `source` of a job file.
        judge: `kind` and settings of the only stage.
        endpoints: of the stage; each an address, or a mapping with `url`, `model` and `token_env`.
        columns: of the source: for each role its columns, where their names do not say it.

    Raises:
        ConfigError: the file is there already or cannot be written, or what is given makes no job.
    """
    text = new_job(source, judge, endpoints, columns, name=Path(path).name)
    job = parse_job(text, name=str(path))
    try:
        write_whole(Path(path), text.encode(), replaces=False)
    except FileExistsError:
        raise ConfigError(f"{path} is there already and stays as it is. Give another name, or remove it.") from None
    except BuildError as error:
        raise ConfigError(str(error)) from None
    return job


def new_job(
    source: str,
    judge: Mapping[str, Any],
    endpoints: Sequence[Any] = (),
    columns: Mapping[str, Sequence[str]] | None = None,
    *,
    name: str = "job.yaml",
) -> str:
    """The text of such a file. What is given is quoted as YAML: it can be anything and never becomes structure."""
    from jinja2 import Environment, StrictUndefined

    asked = [{"url": each} if isinstance(each, str) else each for each in endpoints]
    environment = Environment(trim_blocks=True, undefined=StrictUndefined, autoescape=False)  # noqa: S701 - YAML
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    made = template.render(
        program=program(),
        name=_comment(name),
        source=_yaml(source),
        columns={role: _yaml(list(names)) for role, names in (columns or {}).items()},
        journal=_yaml(Job.model_fields["journal"].default),
        kind=_yaml(judge["kind"]),
        settings={name: _yaml(value) for name, value in judge.items() if name != "kind"},
        endpoints=[{name: _yaml(value) for name, value in each.items() if value is not None} for each in asked],
    )
    return f"{made.rstrip()}\n"


def _yaml(value: Any) -> str:
    """A value on one line; texts are quoted wherever YAML would read them otherwise."""
    import yaml

    if not isinstance(value, str):
        return str(yaml.safe_dump(value, default_flow_style=True, width=float("inf"))).removesuffix("...\n").strip()
    plain = str(yaml.safe_dump(value, allow_unicode=True, width=float("inf"))).removesuffix("...\n").strip()
    if "\n" not in plain and "${" not in value and yaml.safe_load(f"a: {plain}") == {"a": value}:
        return plain
    return str(yaml.safe_dump(value, default_style='"', allow_unicode=True, width=float("inf"))).strip()


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)

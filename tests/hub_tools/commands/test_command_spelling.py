"""What is said of a mistake names options on the command line, settings to a job file, and arguments in Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_relabel.builders.configs.views.view import kind_named
from hf_relabel.builders.errors import InputError, SourceError
from hf_relabel.builders.outputs.writing import OutputFormat
from hf_relabel.builders.sources import open_source
from hf_relabel.builders.sources.recognition import named_format
from hf_relabel.builders.sources.samples import Sample
from hf_relabel.builders.techniques import named
from hf_relabel.hub_tools.commands import run

TWO_POSITIVES = {"id": "1", "query": "why is the sky blue?", "response": "air scatters light", "title": "on skies"}


@pytest.fixture
def ambiguous(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(TWO_POSITIVES | {"negative": "no"}) + "\n", encoding="utf-8")
    return path


def test_python_is_told_of_arguments(ambiguous: Path) -> None:
    with pytest.raises(SourceError) as found:
        open_source(ambiguous)
    assert '`columns={"positive": "response"}`' in str(found.value)
    assert "--" not in str(found.value)


def test_the_command_line_is_told_of_options(ambiguous: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(ambiguous)]) == 2
    told = capsys.readouterr().err
    assert "Say it, for example --column positive=response." in told
    assert "columns=" not in told
    assert run(["inspect", str(ambiguous), "--column", "positive=response"]) == 0


def test_a_job_file_is_told_of_its_settings(
    ambiguous: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(f"source: {ambiguous}\nstages: [{{judge: similarity}}]\nbuild: {{out: {tmp_path / 'out'}}}\n")
    assert run(["run", str(job)]) == 2
    assert '`columns: {"positive": "response"}`' in capsys.readouterr().err
    assert run(["run", "--new", str(tmp_path / "new.yaml"), str(ambiguous), "--judge", "similarity"]) == 2
    assert "--column positive=response" in capsys.readouterr().err


def test_warnings_name_options_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "q", "response": "a word", "negative": "no"}) + "\n", encoding="utf-8")
    import logging

    logger = logging.getLogger("hf_relabel.builders.sources.source")
    logger.propagate = False  # pytest handles all that reaches the root, so that nothing would be printed
    try:
        assert run(["inspect", str(path)]) == 0
    finally:
        logger.propagate = True
    assert "Say it: --column positive=response." in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "near"),
    [
        (["--view", "tupels"], "tuples"),
        (["--technique", "relable"], "relabel"),
        (["--output-format", "flagembeding"], "flagembedding"),
        (["--format", "flagembeding"], "flagembedding"),
        (["--sample", "rlhn-10k"], "rlhn-100k"),
    ],
)
def test_a_misspelt_choice_gets_the_nearest_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], near: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"query": "q", "pos": ["p"], "neg": ["n"]}) + "\n", encoding="utf-8")
    assert run(["build", str(path), "--out", str(tmp_path / "out"), *options]) == 2
    assert f"Did you mean {near!r}?" in capsys.readouterr().err


def test_a_misspelt_choice_in_python_gets_the_nearest_one() -> None:
    for call in (
        lambda: named("relable"),
        lambda: kind_named("tupels"),
        lambda: named_format("flagembeding"),
        lambda: OutputFormat("flagembeding").check(),
        lambda: Sample.preset("rlhn-10k"),
    ):
        with pytest.raises(InputError, match="Did you mean '"):
            call()


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_no_label_is_at_least_what_is_no_number(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"query": "q", "passage": "p", "label": 1}) + "\n", encoding="utf-8")
    assert run(["inspect", str(path), "--relevant-from", value]) == 2
    assert f"'--relevant-from': '{value}' is not a " in capsys.readouterr().err
    with pytest.raises(SourceError, match=f"relevant_from={value}. is no label"):
        open_source(path, relevant_from=float(value))


def test_one_column_in_two_roles_is_refused(ambiguous: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(ambiguous), "--column", "positive=negative", "--column", "negative=negative"]) == 2
    told = "Error: --column: the column 'negative' cannot be the positive and the negative."
    assert told in capsys.readouterr().err

"""The pages of the commands say what the command line says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt

from hf_relabel.builders.job.job_file import Job, SourceSettings
from hf_relabel.builders.job.reading import parse_job
from hf_relabel.builders.job.stages import LimitSettings, StageSettings
from hf_relabel.builders.job.steps import PushSettings
from hf_relabel.builders.judges.registry import JUDGES
from hf_relabel.builders.messages.program import SCRIPT, spoken
from hf_relabel.hub_tools.commands import COMMANDS, cli
from hf_relabel.hub_tools.commands import pages as module
from hf_relabel.hub_tools.commands.common import Number
from hf_relabel.hub_tools.commands.job_page import NAME as JOB_PAGE
from hf_relabel.hub_tools.commands.pages import FOLDER, INDEX, NOTES, main, pages, stale, write
from hf_relabel.hub_tools.commands.recipe_page import NAME as RECIPE_PAGE


def test_the_pages_are_up_to_date() -> None:
    assert stale() == [], "run `make pages` and commit what it writes"


def test_no_option_takes_what_is_no_finite_number() -> None:
    """click's own types let NaN through, which is neither below nor above anything."""
    loose = [
        f"{name} {parameter.opts[0]}"
        for name in COMMANDS
        for command in [cli.get_command(click.Context(cli), name)]
        for each in [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
        if each is not None
        for parameter in each.params
        if isinstance(parameter.type, click.types.FloatParamType) and not isinstance(parameter.type, Number)
    ]
    assert loose == []
    for value in ("nan", "inf", "-inf"):
        with pytest.raises(click.BadParameter, match=value):
            Number().convert(value, None, None)


def test_every_command_has_its_page_with_every_option_and_example() -> None:
    made = pages()
    assert set(made) == {INDEX, JOB_PAGE, RECIPE_PAGE, *(f"{name}.md" for name in COMMANDS)}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for each in [command, *(command.commands.values() if isinstance(command, click.Group) else ())]:
            for parameter in each.params:
                if isinstance(parameter, click.Option):
                    assert parameter.opts[0] in made[f"{name}.md"], f"{name}: {parameter.opts}"
            for line in (each.epilog or "").splitlines():
                if line.startswith("  "):
                    assert spoken(line.strip(), SCRIPT) in made[f"{name}.md"]
        assert "(README.md#exit-codes)" in made[f"{name}.md"]
        assert "| 2 | bad input |" not in made[f"{name}.md"]
        assert f"[{name}]({name}.md)" in made[INDEX]
    assert "## Exit codes" in made[INDEX]
    assert "| 2 | bad input |" in made[INDEX]


def test_pages_do_not_depend_on_the_terminal() -> None:
    script = "import hashlib; from hf_relabel.hub_tools.commands.pages import pages; print(sorted(pages().items()))"
    outputs = set()
    for columns in ("40", "300"):
        environment = {**os.environ, "COLUMNS": columns, "TERM": "dumb", "PYTHONHASHSEED": columns}
        outputs.add(subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True).stdout)
    assert len(outputs) == 1


def test_links_lead_to_pages_and_tables_stay_tables() -> None:
    markdown = MarkdownIt("commonmark").enable("table")
    for name, text in pages().items():
        html = markdown.render(text)
        for link in re.findall(r'href="([^"]+)"', html):
            assert link.startswith(("https://", "#")) or (FOLDER / link.partition("#")[0]).is_file(), f"{name}: {link}"
        for row in re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL):
            assert "|" not in re.sub(r"<code>.*?</code>", "", row, flags=re.DOTALL), f"{name}: {row}"
        assert "\\b" not in text
        assert "\b" not in text


def test_what_is_out_of_date_is_named_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    assert stale(tmp_path) == []
    (tmp_path / "judge.md").write_text("old", encoding="utf-8")
    (tmp_path / "push.md").unlink()
    (tmp_path / "gone.md").write_text("of no command", encoding="utf-8")
    assert stale(tmp_path) == ["gone.md", "judge.md", "push.md"]
    write(tmp_path)
    assert stale(tmp_path) == []
    assert not (tmp_path / "gone.md").exists()

    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "nothing.md").write_text("of no command", encoding="utf-8")
    monkeypatch.setattr(module, "NOTES", notes)
    assert "nothing.md" in stale(tmp_path)


def test_the_check_fails_where_a_page_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "stale", lambda: ["judge.md"])
    with pytest.raises(SystemExit) as ended:
        main(["--check"])
    assert ended.value.code == 1
    assert "out of date: judge.md. Run `make pages`" in capsys.readouterr().err


def test_notes_are_of_commands() -> None:
    assert {path.name for path in NOTES.glob("*.md")} <= {RECIPE_PAGE, *(f"{name}.md" for name in COMMANDS)}


def test_the_page_of_job_files_has_every_setting_with_its_meaning_and_its_examples_are_jobs() -> None:
    text = pages()[JOB_PAGE]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    of_schema = [line for line in rows if line.count(" | ") == 3]
    assert [line for line in of_schema if line.endswith("|  |")] == [], "a setting has no docstring"
    for name in Job.model_fields:
        assert f"| `{name}` |" in text
    for model in (SourceSettings, StageSettings, LimitSettings, PushSettings):
        assert all(f"| `{name}` |" in text for name in model.model_fields)
    for kind in JUDGES:
        assert f"\n### {kind}\n" in text
    for example in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL):
        assert parse_job(example).build is not None
    anchors = {heading.lower() for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)}
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= anchors


def _command_examples() -> list[str]:
    """The command lines of all epilogs, whole."""
    commands = [cli.get_command(click.Context(cli), name) for name in COMMANDS]
    below = [each for group in commands if isinstance(group, click.Group) for each in group.commands.values()]
    text = "\n".join(command.epilog or "" for command in [cli, *commands, *below] if command is not None)
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("hf relabel ")]


@pytest.mark.parametrize("line", _command_examples())
def test_examples_are_read_as_the_command_does(line: str) -> None:
    words = shlex.split(line, comments=True)[2:]
    command: click.Command | None = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words:
        command, context = command.get_command(context, words[0]), click.Context(command)
        words = words[1:]
    assert command is not None
    command.make_context("hf relabel", words, parent=context)


def test_an_example_with_a_wrong_option_is_seen() -> None:
    with pytest.raises(click.UsageError):
        test_examples_are_read_as_the_command_does("hf relabel inspect train.jsonl --subsets nq")

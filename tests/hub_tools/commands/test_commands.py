"""The command line as people and scripts use it: help, errors, exit codes, JSON, and through the real `hf`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.hub_tools.commands import COMMANDS, cli, run
from hf_relabel.hub_tools.commands.text_values import AnyText
from tests import forked
from tests.facade import Facade, ScriptedBackend
from tests.hub_tools.release_clients import COMMAND_LINE

SCRIPTS = Path(sys.executable).parent


def rows_file(folder: Path) -> Path:
    def passage(docid: str, text: str) -> dict[str, str]:
        return {"docid": docid, "title": "", "text": text}

    row = {
        "query_id": "q1",
        "query": "how long does an egg boil",
        "positive_passages": [passage("p", "A soft egg takes six minutes.")],
        "negative_passages": [passage("copy", "a soft egg takes SIX minutes"), passage("n", "Hens lay eggs.")],
        "subset": "cooking",
    }
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"], prog_name="hf-relabel")
    assert result.exit_code == 0
    assert f"hf-relabel {name}" in result.output
    assert "Examples:" in result.output


def of_texts(command: click.Command, path: str) -> Iterator[tuple[str, click.Parameter, str]]:
    """Each parameter of a command, and of those below it, that takes a text or a path."""
    for param in command.params:
        if param.type.name in ("text", "path", "file", "directory") and param.type is not click.UNPROCESSED:
            yield path, param, param.opts[0]
    for name, below in command.commands.items() if isinstance(command, click.Group) else ():
        yield from of_texts(below, f"{path} {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_text_is_refused_by_the_options_name(name: str) -> None:
    """It counted as not given, or as the folder one was in."""
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    for path, param, spelt in of_texts(command, name):
        if isinstance(param.type, AnyText):
            assert param.type.convert("", param, context) == ""
            continue
        for empty in ("", "  "):
            with pytest.raises(click.BadParameter, match="empty") as refused:
                param.type.convert(empty, param, context)
            called = spelt if isinstance(param, click.Option) else param.make_metavar(context)
            assert f"Invalid value for '{called}': it is empty" in refused.value.format_message().replace(
                "the name", "it"
            ), path


@pytest.mark.parametrize(
    "given",
    [
        ["plan", "ROWS", "--pilot", ""],
        ["plan", "ROWS", "--audit", "", "--precision", "0.9"],
        ["judge", "ROWS", "--judge", "similarity", "--journal", ""],
        ["mine", "ROWS", "--out", ""],
        ["build", "ROWS", "--out", ""],
        ["run", ""],
    ],
)
def test_an_empty_option_is_an_error_of_one_line(
    tmp_path: Path, given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = str(rows_file(tmp_path))
    assert run([rows if each == "ROWS" else each for each in given]) == 2
    name = "[JOB_FILE]" if given[0] == "run" else given[given.index("") - 1]
    assert f"Error: Invalid value for '{name}': " in capsys.readouterr().err


def test_it_runs_as_a_plugin_of_the_real_hf_command(tmp_path: Path) -> None:
    folder = tmp_path / ".local/share/hf/extensions/hf-relabel"
    folder.mkdir(parents=True)
    manifest = {
        "owner": "someone",
        "repo": "hf-relabel",
        "repo_id": "someone/hf-relabel",
        "short_name": "relabel",
        "executable_path": str(SCRIPTS / "hf-relabel"),
        "type": "python",
        "installed_at": "2026-01-01T00:00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    environment = {**os.environ, "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    command = [SCRIPTS / "hf", "relabel", "inspect", rows_file(tmp_path), "--json"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["format"] == "tevatron"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["inspect", "no/such/place.jsonl"], 2, "no/such/place.jsonl"),
        (["judge", "ROWS"], 2, "Name a judge"),
        (["judge", "ROWS", "--judge", "oracle"], 2, "oracle"),
        (["judge", "ROWS", "--endpoint", "http://127.0.0.1:9", "--journal", "TMP/j.sqlite"], 3, "127.0.0.1:9"),
        (["build", "ROWS", "--out", "TMP/out", "--journal", "TMP/absent.sqlite"], 5, "no journal"),
        (["run", "absent.yaml"], 2, "absent.yaml"),
        (["run", "rlhn-fever", "--set", "nonsense"], 2, "NAME=VALUE"),
        (["inspect", "ROWS", "--sample", "lots"], 2, "--sample: 'lots' is no sample"),
        (["inspect", "ROWS", "--format", "tevatrn"], 2, "--format: there is no format 'tevatrn'. Did you mean"),
        (["judge", "ROWS", "--judge", "similarity", "--max-cost", "-1"], 2, "Invalid value for '--max-cost'"),
        (["judge", "ROWS", "--judge", "lstwise"], 2, "Did you mean 'listwise'?"),
        (["judge", "ROWS", "--judge", "student"], 2, "needs --model, the folder"),
        (["judge", "ROWS", "--judge", "truth"], 2, "--truth FILE"),
        (["judge", "ROWS", "--judge", "truth", "--truth", "gone.jsonl"], 2, "There is no truth file gone.jsonl"),
        (["judge", "ROWS", "--judge", "saved-replies"], 2, "--replies FILE"),
        (["judge", "ROWS", "--judge", "similarity", "--replies", "x"], 2, "--replies is for --judge saved-replies"),
        (["no-such-command"], 2, "no-such-command"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(
    arguments: list[str], code: int, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = str(rows_file(tmp_path))
    filled = [argument.replace("ROWS", rows).replace("TMP", str(tmp_path)) for argument in arguments]
    assert run(filled) == code
    error = capfd.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_settings_that_are_wrong_leave_no_journal_behind(tmp_path: Path) -> None:
    journal = tmp_path / "journal.sqlite"
    assert run(["judge", str(rows_file(tmp_path)), "--judge", "oracle", "--journal", str(journal)]) == 2
    assert not journal.exists()


def test_ctrl_c_keeps_what_is_done_and_the_same_command_continues(tmp_path: Path) -> None:
    backend = ScriptedBackend(rows_path(), truth_path())
    journal = tmp_path / "journal.sqlite"
    with Facade(backend, latency=0.2, max_concurrent_requests=8) as facade:
        command = ["judge", str(rows_path()), "--endpoint", facade.url, "--dialect", "openai"]
        command += ["--concurrency", "4", "--journal", str(journal), "--json"]
        process = forked.start(COMMAND_LINE, *command)
        while facade.generated < 8:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 130
        assert "Traceback" not in error
        assert f"What was judged is in {journal}: the same command again goes on from there." in error
        answered = facade.generated
        result = forked.run(COMMAND_LINE, *command)
    (stage,) = json.loads(result.stdout)["stages"]
    # What is done is not asked again; an answer may have been sent to a process that was just ending.
    assert 60 - answered <= stage["requests"] <= 60 - answered + 4
    assert stage["known"] > 0


def test_the_ready_job_files_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "--list"]) == 0
    assert "rlhn-two-stage" in capfd.readouterr().out


def test_the_version_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out.startswith("hf-relabel ")


def test_the_token_of_a_server_is_in_the_variable_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_ENDPOINT", "right-token")
    backend = ScriptedBackend(rows_path(), truth_path())
    with Facade(backend, openai_style=True, api_key="right-token") as server:
        asked = [
            "judge",
            str(rows_path()),
            "--limit",
            "2",
            "--journal",
            str(tmp_path / "j.sqlite"),
            "--dialect",
            "openai",
        ]
        without = run([*asked, "--endpoint", server.url])
        named = run([*asked, "--endpoint", server.url, "--token-env", "MY_ENDPOINT"])
    printed = "".join(capfd.readouterr())
    assert (without, named) == (3, 0)
    assert "no token was sent). Name the environment variable that holds one: --token-env" in printed
    assert "right-token" not in printed

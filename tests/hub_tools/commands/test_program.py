"""The command line speaks the command the user has, completes in the shell, and knows what was meant."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import hf_relabel
from hf_relabel.builders.configs.manifest import package_version
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.program import is_extension, program, spoken
from hf_relabel.hub_tools.commands import COMMANDS, COMPLETE, cli, run
from hf_relabel.hub_tools.commands.quickstart_command import NEXT_STEPS
from hf_relabel.hub_tools.package_files import package_files

ROOT = Path(__file__).resolve().parents[3]
PARTS = ("builders", "cards", "hub_tools", "trainers")
EXTENSION = "/home/ada/.local/share/hf/extensions/hf-relabel/venv"
WAYS = {"/home/ada/venv": "hf-relabel", EXTENSION: "hf relabel"}
WRONG = {"hf-relabel": re.compile(r"hf\s+relabel"), "hf relabel": re.compile(r"hf-relabel\s+(?:[a-z]|\[OPTIONS)")}
NAMED = re.compile(rf"hf relabel|hf-relabel (?:{'|'.join(COMMANDS)})\b")


@pytest.fixture(params=WAYS)
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The right name, in an environment of pip and in that of the extension."""
    monkeypatch.setattr(sys, "prefix", request.param)
    return WAYS[request.param]


def commands() -> Iterator[list[str]]:
    yield []
    for name in COMMANDS:
        yield [name]
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            yield from ([name, below] for below in command.commands)


def test_the_environment_says_how_the_package_was_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, expected in {**WAYS, "/opt/extensions/hf-relabel": "hf-relabel"}.items():
        monkeypatch.setattr(sys, "prefix", prefix)
        assert program() == expected
        assert is_extension() == (expected == "hf relabel")


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_help_speaks_the_command_the_user_has(
    command: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: {' '.join([name, *command])} " in text
    assert not WRONG[name].findall(text)
    if "Examples:" in text:
        assert name in text.split("Examples:")[1]


@pytest.mark.parametrize(
    "arguments", [["build", "ROWS", "--out", "x", "--journal", "gone.sqlite"], ["judge", "--no-such-option"], ["nope"]]
)
def test_messages_speak_the_command_the_user_has(
    arguments: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ROWS").mkdir()
    assert run(arguments) != 0
    text = capsys.readouterr().err
    assert not WRONG[name].findall(text)
    assert not WRONG[name].findall(spoken(NEXT_STEPS))


def test_texts_that_nobody_renders_name_no_command_of_their_own() -> None:
    """`hf relabel` in a text that is shown as it stands would be wrong for one of the two kinds of users."""
    found = []
    for path in sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.name == "program.py" or not NAMED.search(text):
            continue
        nodes = list(ast.walk(ast.parse(text)))
        rendered = {id(part) for node in nodes if _is_rendered(node) for part in ast.walk(node)}
        texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        bad = [node for node in texts if id(node) not in rendered and NAMED.search(node.value)]
        found += [f"{path.relative_to(ROOT)}:{node.lineno}" for node in bad]
    # Written into a Space, which people of both kinds read.
    assert [place for place in found if not place.startswith("hub_tools/space/deployed_files.py")] == []


def _is_rendered(node: ast.AST) -> bool:
    """A docstring, an epilog, the help of an option, the opening of a page, or what goes through `spoken`."""
    if isinstance(node, ast.Assign):
        return any(
            isinstance(to, ast.Name) and to.id.endswith(("EPILOG", "NEXT_STEPS", "_OPENING")) for to in node.targets
        )
    is_help = isinstance(node, ast.keyword) and node.arg == "help"
    return is_help or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


@pytest.mark.parametrize(
    ("arguments", "right"),
    [(["buld"], "'build'"), (["jobs", "sumbit"], "'submit'"), (["judge", "--endpont", "x"], "'--endpoint'")],
)
def test_a_misspelt_command_or_option_gets_the_nearest_one(
    arguments: list[str], right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert f"Did you mean {right}?" in capsys.readouterr().err


def test_the_nearest_name_is_the_one_that_was_meant() -> None:
    known = ["listwise", "pointwise", "cross-encoder"]
    assert did_you_mean("lstwise", known) == " Did you mean 'listwise'?"
    assert did_you_mean("Cross_Encoder", known) == " Did you mean 'cross-encoder'?"
    assert did_you_mean("oracle", known) == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(
    shell: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(COMPLETE, f"{shell}_source")
    assert run([]) == 0
    script = capsys.readouterr().out
    assert f"{COMPLETE}={shell}_complete" in script
    assert "hf-relabel" in script
    assert "hf relabel" not in script


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hf-relabel ju", ["judge", "judge-bench"]),
        ("hf-relabel judge --retr", ["--retry-failed"]),
        ("hf-relabel jobs can", ["cancel"]),
        ("hf-relabel judge --engine r", ["ray"]),
        ("hf-relabel judge x --judge tr", ["truth"]),
        ("hf-relabel inspect x --format n-", ["n-tuple"]),
        ("hf-relabel judge x --dialect t", ["tgi", "text-generation"]),
        ("hf-relabel build x --technique relabel-", ["relabel-filter"]),
        ("hf-relabel train x --recipe s", ["sparse", "static"]),
        ("hf-relabel run rlhn-f", ["rlhn-fever", "rlhn-fiqa"]),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_choices_are_completed(
    shell: str, line: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    completed = complete(shell, line, monkeypatch, capsys)
    assert [word for word in re.split(r"[\n,\t]", completed) if word in expected] == expected
    assert "file" not in completed.split()


@pytest.mark.parametrize("line", ["hf-relabel judge tr", "hf-relabel build x --journal j", "hf-relabel run jo"])
def test_files_are_completed_where_a_file_goes(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complete("bash", line, monkeypatch, capsys) == f"file,{line.split()[-1]}"


def complete(shell: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the shell is told when the user presses TAB at the end of the line."""
    words = line.split()
    monkeypatch.setenv(COMPLETE, f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
    assert run([]) == 0
    return capsys.readouterr().out.strip()


def test_the_version_is_that_of_pyproject_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert hf_relabel.__version__ == declared
    assert package_version("hf-relabel") == declared
    assert package_files(only=("builders",)).version == declared
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"hf-relabel {declared}\n"


def test_nothing_is_coloured_so_no_color_has_nothing_to_turn_off(tmp_path: Path) -> None:
    for arguments in (["--help"], ["judge", "--help"], ["nope"], ["inspect", str(tmp_path / "gone.jsonl")]):
        result = CliRunner().invoke(cli, arguments, color=True, env={"FORCE_COLOR": "1"})
        assert "\x1b[" not in result.output


def test_own_files_are_completed_beside_the_ready_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rlhn-mine.yaml").touch()
    assert "plain,rlhn-mine.yaml" in complete("bash", "hf-relabel run rlhn-", monkeypatch, capsys)
    assert "rlhn" not in complete("bash", "hf-relabel run --new job.yaml r", monkeypatch, capsys)

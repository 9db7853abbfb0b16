"""CONTRIBUTING.md and CHANGELOG.md speak of commands, options and calls that there are."""

from __future__ import annotations

import ast
import inspect
import re
import shlex

import click
import pytest

import hf_relabel
from hf_relabel.hub_tools.commands import COMMANDS, cli
from tests.pages.reading import ROOT, blocks

_CONTRIBUTING = ROOT / "CONTRIBUTING.md"
_CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
_LINES = [line.partition("#")[0].strip() for line in blocks(_CONTRIBUTING)[0].text.splitlines()]
_CODE = sorted(set(re.findall(r"`([^`]+)`", _CHANGELOG)))
_SPOKEN = [code for code in _CODE if "--" in code]
_CALLS = [code for code in _CODE if re.fullmatch(r"\w+\(.+\)", code)]


@pytest.mark.parametrize("line", _LINES)
def test_a_command_for_those_who_contribute_works_as_written(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "make":
        made = [word for word in words if "=" not in word]
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert made
        assert set(made) <= set(targets)
        return
    assert program == ".venv/bin/pytest"
    if words[0] != "-k":
        assert all((ROOT / word).is_file() for word in words)
        return
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert any(re.search(rf"^def test_\w*{words[1]}", text, re.MULTILINE) for text in tests), "no test of that name"


def _options(command: click.Command) -> set[str]:
    below = command.commands.values() if isinstance(command, click.Group) else ()
    own = {name for option in command.params for name in option.opts}
    return own.union(*map(_options, below))


def _all_options() -> dict[str, set[str]]:
    context = click.Context(cli)
    return {name: _options(found) for name in COMMANDS if (found := cli.get_command(context, name)) is not None}


@pytest.mark.parametrize("code", _SPOKEN)
def test_options_that_the_changelog_names_are_there(code: str) -> None:
    words = [word for word in shlex.split(code) if word != "hf-relabel"]
    known = _all_options()
    there = known[words[0]] if words[0] in known else set().union(*known.values())
    assert {word for word in words if word.startswith("--")} <= there


@pytest.mark.parametrize("code", _CALLS)
def test_calls_that_the_changelog_names_take_what_it_gives(code: str) -> None:
    call = ast.parse(code.replace("…", "..."), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    inspect.signature(getattr(hf_relabel, call.func.id)).bind_partial(
        *call.args, **{str(each.arg): None for each in call.keywords}
    )


def test_an_entry_of_the_changelog_is_a_line_of_its_own() -> None:
    assert not re.findall(r"^- .*\.- \w.*", _CHANGELOG, re.MULTILINE)

"""Arguments in messages: as Python has them, and as options of the command line."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.messages.spelling import argument, as_options

OPTIONS = {"columns": "--column", "split": "--split", "limit": "--limit", "skip_bad_rows": "--skip-bad-rows"}


@pytest.mark.parametrize(
    ("name", "value", "python", "command_line"),
    [
        ("columns", {"positive": "response"}, '`columns={"positive": "response"}`', "--column positive=response"),
        ("columns", {"negative": ["a", "b c"]}, '`columns={"negative": ["a", "b c"]}`', None),
        ("split", "test", '`split="test"`', "--split test"),
        ("split", "it's", '`split="it\'s"`', None),
        ("limit", 5, "`limit=5`", "--limit 5"),
        ("limit", ..., "`limit=…`", "--limit …"),
        ("skip_bad_rows", True, "`skip_bad_rows=True`", "--skip-bad-rows"),
        ("skip_bad_rows", False, "`skip_bad_rows=False`", "`skip_bad_rows=False`"),
        ("split", None, "`split=None`", "`split=None`"),
        ("elsewhere", 1, "`elsewhere=1`", "`elsewhere=1`"),
    ],
)
def test_an_argument_reads_as_a_call_has_it_and_as_the_command_line_has_it(
    name: str, value: Any, python: str, command_line: str | None
) -> None:
    assert argument(name, value) == python
    option = as_options(f"Say {argument(name, value)}.", OPTIONS)
    if command_line is not None:
        assert option == f"Say {command_line}."
    if value is not ...:
        assert ast.literal_eval(python.strip("`").partition("=")[2]) == value


def test_a_shell_takes_what_the_command_line_is_told() -> None:
    told = as_options(argument("columns", {"negative": ["a", "it's b"], "query": "q"}), OPTIONS)
    assert shlex.split(told) == ["--column", "negative=a", "--column", "negative=it's b", "--column", "query=q"]


def test_an_argument_may_be_named_without_a_value() -> None:
    assert argument("split") == "`split=`"
    assert as_options(f"Name one ({argument('split')}).", OPTIONS) == "Name one (--split)."


def test_what_a_job_file_says_is_a_setting() -> None:
    text = f"{argument('columns', {'query': 'q'})}, {argument('config')}, {argument('limit', 3)}"
    assert as_options(text, {"limit": "--limit"}, settings=True) == '`columns: {"query": "q"}`, `config:`, --limit 3'


@pytest.mark.parametrize("text", ["`frame.columns = [1]`", "a `b` c", "`limit`", "limit=3", "`limit=f(x)`", "`limit=3"])
def test_other_code_in_a_message_stays_as_it_is(text: str) -> None:
    assert as_options(text, OPTIONS) == text


ROOT = Path(__file__).resolve().parents[3]
FILES = [path for room in ("sources", "mining") for path in sorted((ROOT / "builders" / room).glob("*.py"))]
# What follows the name of the command, `{program()} mine …`, is the command line's.
OF_A_COMMAND = (" --out rows.jsonl", " inspect --help` describes them.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.stem}/{path.stem}")
def test_no_message_about_sources_names_an_option(path: Path) -> None:
    texts = [node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)]
    options = [text for text in texts if isinstance(text, str) and re.search(r"(?<![\w-])--[a-z]", text)]
    assert [text for text in options if text not in OF_A_COMMAND] == []

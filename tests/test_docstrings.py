"""Public names have docstrings with an example, whose names and keywords exist and whose prompts say what is true."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import hf_relabel

# What calls give and nobody makes, and another name of `open_source`.
GIVEN = set(
    "AuditReport BuildReport CompareReport Inspection JobPlan Judgement Label LabelledScore MiningReport NumberedRow"  # noqa: SIM905
    " Outcome PushReport RelabeledConfig Reply Request Shard Source StagePlan StageReport StudentExample TrainingReport"
    " Verdict open_hub_source".split()
)
FOUND = {
    name: value
    for name, value in ((name, getattr(hf_relabel, name)) for name in hf_relabel.__all__)
    if name not in GIVEN and not (inspect.isclass(value) and issubclass(value, Exception))
}


def examples(value: Any) -> Iterator[str]:
    """The indented blocks before the first section and after `Example:`, each as code."""
    text = f"{inspect.getdoc(value)}\n"
    opening, _, rest = text.partition("Example:\n")
    indent = 8 if rest else 4
    text = re.split(r"^\w+:\n", rest or opening, maxsplit=1, flags=re.MULTILINE)[0]
    for part in re.findall(rf"(?:^ {{{indent}}}.*\n|^[ ]*\n)+", text, re.MULTILINE):
        if code := textwrap.dedent(part).strip("\n"):
            yield code


@pytest.mark.parametrize("name", FOUND)
def test_what_a_user_calls_or_makes_has_an_example(name: str) -> None:
    assert list(examples(FOUND[name])), f"{name}: no example in its docstring"


@pytest.mark.parametrize("name", FOUND)
def test_examples_call_what_there_is_with_what_it_takes(name: str) -> None:
    for code in examples(FOUND[name]):
        source = "\n".join(line[4:] for line in code.splitlines() if line[:3] in (">>>", "...")) or code
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module == "hf_relabel":
                assert {alias.name for alias in node.names} <= {*hf_relabel.__all__}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in hf_relabel.__all__:
                keywords = {each.arg: None for each in node.keywords if each.arg}
                inspect.signature(getattr(hf_relabel, node.func.id)).bind(*node.args, **keywords)


@pytest.mark.parametrize("name", [name for name, value in FOUND.items() if ">>>" in (value.__doc__ or "")])
def test_prompts_say_what_is_true(name: str) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(FOUND[name], name, globs={})
    told: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert not result.failed, "".join(told)

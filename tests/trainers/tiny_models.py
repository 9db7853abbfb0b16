"""Untrained models of a few thousand weights, written to a folder in the layout of real ones. Nothing is fetched."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Model,
)

LETTERS = [*string.ascii_lowercase, *string.digits, *".,?!:;-'"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "yes", "no"]
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS)]


def tokenizer() -> PreTrainedTokenizerFast:
    """Word pieces of one letter each."""
    words = Tokenizer(models.WordPiece({token: index for index, token in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, mask_token="[MASK]", eos_token="[SEP]", model_max_length=128, **names
    )


def tiny_bert(folder: Path, *, masked: bool = False) -> str:
    """A BERT of two layers and 32 dimensions. `masked` gives it the head a SPLADE model needs."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    model = BertForMaskedLM(config) if masked else BertModel(config)
    _lengthen(model, 512)
    return _written(folder, model)


def _lengthen(model: Any, positions: int) -> None:
    """More positions, drawn after all other weights: these stay what tests were tuned on."""
    embeddings = model.base_model.embeddings
    first = embeddings.position_embeddings.weight.data
    longer = torch.nn.Embedding(positions, first.shape[1])
    longer.weight.data.normal_(std=0.02)
    longer.weight.data[: len(first)] = first
    embeddings.position_embeddings = longer
    model.config.max_position_embeddings = positions


def tiny_qwen(folder: Path, *, causal: bool = False) -> str:
    """A Qwen2 of two layers and 32 dimensions. `causal` gives it the head that a reranker reads yes and no from."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=512,
        pad_token_id=0,
    )
    return _written(folder, Qwen2ForCausalLM(config) if causal else Qwen2Model(config))


def _written(folder: Path, model: Any) -> str:
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)

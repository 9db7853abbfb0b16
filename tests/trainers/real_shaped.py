"""Untrained models of a few thousand weights whose files are shaped as those of the real ones on the Hub: the parts of
the tokenizer, its chat template and special tokens, what it appends and what not, the precision of the weights.

`tiny_models` has word pieces that put [CLS] and [SEP] around a text; what happens to a text of a Qwen, which gets
neither and brings a chat template, is not seen there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3TextConfig,
    Gemma3TextModel,
    GemmaTokenizer,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
DIMENSIONS = 32
_LAYERS = {
    "hidden_size": DIMENSIONS,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 512,
}
_WORDS = (
    "yes no query passage document title text instruct system user assistant you are a helpful assistant judge whether "
    "the meets requirements based on and provided note that answer can only be good bad ask where is my card parcel"
)

CHATML = (
    "{%- if messages[0].role != 'system' -%}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif -%}"
    "{%- for message in messages -%}{%- if message.role in ('system', 'user', 'assistant') -%}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)
"""As that of Qwen2.5 and Qwen3: a system line for whom there is none, a newline after each turn, no place for a query
and a document."""


def qwen2(folder: Path) -> str:
    """As Qwen/Qwen2.5-7B: causal, bf16, ChatML, <|endoftext|> for end and padding, and no post-processor."""
    torch.manual_seed(0)
    tokenizer = _qwen_tokenizer(end=END)
    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, tie_word_embeddings=False, **ids, **_LAYERS)
    return _written(folder, Qwen2ForCausalLM(config).to(torch.bfloat16), tokenizer)


def qwen3(folder: Path) -> str:
    """As Qwen/Qwen3-Reranker-0.6B: the same with <|im_end|> for the end, and the head tied to the embeddings."""
    return _written(folder, _qwen3_model(), _qwen_tokenizer(end=STOP))


def qwen3_embedding(folder: Path) -> str:
    """As Qwen/Qwen3-Embedding-0.6B: a post-processor appends <|endoftext|>, though the end is <|im_end|>; the last
    token is pooled."""
    tokenizer = _qwen_tokenizer(end=STOP)
    ids = (END, tokenizer.convert_tokens_to_ids(END))
    tokenizer.backend_tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(f"$A {END}", f"$A {END} $B:1 {END}:1", [ids]),
        ]
    )
    _written(folder, _qwen3_model(), tokenizer)
    return _with_modules(folder, "lasttoken")


def modernbert(folder: Path) -> str:
    """As answerdotai/ModernBERT-base: byte-level BPE, [CLS] and [SEP], layers with local and global attention."""
    torch.manual_seed(0)
    words = _trained_bpe(("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"))
    ids = [(token, words.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    words.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ids)
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=512,
        **names,
    )
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    config = ModernBertConfig(
        vocab_size=len(tokenizer), global_attn_every_n_layers=2, local_attention=16, **special, **_LAYERS
    )
    return _written(folder, ModernBertForMaskedLM(config), tokenizer)


def xlm_roberta(folder: Path) -> str:
    """As intfloat/multilingual-e5-base: a sentencepiece vocabulary with scores, <s> and </s>, mean pooling."""
    torch.manual_seed(0)
    tokenizer = XLMRobertaTokenizer(vocab=[*_unigrams(), ("<mask>", 0.0)], model_max_length=510)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1, **_LAYERS
    )
    _written(folder, XLMRobertaModel(config), tokenizer)
    return _with_modules(folder, "mean")


def gemma_embedding(folder: Path) -> str:
    """As google/embeddinggemma-300m: attention both ways, <bos> and <eos>, mean pooling and two dense layers."""
    from sentence_transformers.base.modules import Dense

    torch.manual_seed(0)
    vocabulary, merges = _gemma_pieces()
    tokenizer = GemmaTokenizer(vocab=vocabulary, merges=merges, model_max_length=512)
    ids = [(token, vocabulary[token]) for token in ("<bos>", "<eos>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "<bos> $A <eos>", "<bos> $A <eos> <bos>:1 $B:1 <eos>:1", ids
    )
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=16,
        use_bidirectional_attention=True,
        **_LAYERS,
    )
    _written(folder, Gemma3TextModel(config), tokenizer)
    sizes = ((DIMENSIONS, 2 * DIMENSIONS), (2 * DIMENSIONS, DIMENSIONS))
    dense = [Dense(first, last, bias=False, activation_function=torch.nn.Identity()) for first, last in sizes]
    return _with_modules(folder, "mean", *dense)


def _qwen3_model() -> Any:
    torch.manual_seed(0)
    tokenizer = _qwen_tokenizer(end=STOP)
    ids = {"bos_token_id": tokenizer.convert_tokens_to_ids(END), "eos_token_id": tokenizer.eos_token_id}
    config = Qwen3Config(
        vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=16, tie_word_embeddings=True, **ids, **_LAYERS
    )
    return Qwen3ForCausalLM(config).to(torch.bfloat16)


def _qwen_tokenizer(*, end: str) -> Any:
    trained = _trained_bpe(())
    made = Qwen2Tokenizer(*_bpe_files(trained), eos_token=end, pad_token=END, model_max_length=512)
    made.add_tokens([END, START, STOP], special_tokens=True)
    made.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    made.chat_template = CHATML
    return made


@cache
def _corpus() -> tuple[str, ...]:
    words = _WORDS.split()
    spelled = [form for word in words for form in (word, word.capitalize(), f" {word}")]
    return (*spelled * 3, *(f"{first} {second}" for first, second in pairwise(words)))


@cache
def _bpe_text(special: tuple[str, ...]) -> str:
    words = Tokenizer(models.BPE())
    words.normalizer = normalizers.NFC()
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator(_corpus(), trainer)
    return str(words.to_str())


def _trained_bpe(special: tuple[str, ...]) -> Tokenizer:
    """Byte-level BPE, so trained that the words above are one token each."""
    return Tokenizer.from_str(_bpe_text(special))


def _bpe_files(trained: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    import json

    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [(first, second) for first, second in model["merges"]]


@cache
def _unigrams() -> tuple[tuple[str, float], ...]:
    import json

    words = Tokenizer(models.Unigram())
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    words.train_from_iterator([*_corpus(), *"abcdefghijklmnopqrstuvwxyz0123456789?!.,:"], trainer)
    return tuple((piece, score) for piece, score in json.loads(words.to_str())["model"]["vocab"])


@cache
def _gemma_pieces() -> tuple[dict[str, int], list[tuple[str, str]]]:
    words = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    words.normalizer = normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *_bytes()]
    words.train_from_iterator(
        _corpus(), trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    )
    return _bpe_files(words)


def _bytes() -> Iterator[str]:
    return (f"<0x{value:02X}>" for value in range(256))


def _written(folder: Path, model: Any, tokenizer: Any) -> str:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _with_modules(folder: Path, pooling: str, *dense: Any) -> str:
    """The files of sentence-transformers beside those of the model, which say how its tokens become one vector."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(
        str(folder),
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    modules = [transformer, Pooling(DIMENSIONS, pooling), *dense, Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return str(folder)

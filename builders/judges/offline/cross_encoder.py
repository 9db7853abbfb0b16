"""A judge that asks a reranker: any cross-encoder of sentence-transformers.

The score is the probability that the reranker gives to the pair of query and candidate (the sigmoid of its logit, for
yes/no LLM rerankers the probability of yes against no), or with `relative` how far that lies above or below its
probability for the row's best ground truth, moved to [0, 1]: 0.5 is a tie. Nothing is calibrated; audit before
relabelling.

An LLM reranker is a causal model whose chat template takes the roles `query` and `document`. Qwen3-Reranker is asked in
its published form where its own template has no place for them (`qwen_reranker`). A text that spells one of
the model's special tokens (`<|im_end|>`, `[SEP]`) is shown with that token broken, so that no passage can end the
prompt and answer in the model's place.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.offline.local_model import LocalModel
from hf_relabel.builders.judges.offline.model_loading import make_model, only_cached
from hf_relabel.builders.judges.offline.qwen_reranker import FORM, template_for
from hf_relabel.builders.judges.protocols import JSON
from hf_relabel.builders.judges.settings import check_number, check_text, check_thresholds, check_yes_or_no
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.rows import Passage, Row, joined_text
from hf_relabel.builders.sources.subsets import subset_set

DEFAULT_MODEL = "Qwen/Qwen3-Reranker-4B"
"""Apache 2.0, 61.2 on BEIR by its authors (November 2026; mxbai-rerank-large-v2 has 61.4, bge-reranker-v2-m3 56.5)."""
SCORE_DIGITS = 5
_Pair = tuple[str, str]


class CrossEncoderJudge(LocalModel):
    """Judges by a reranker's score. Needs sentence-transformers.

    Example:
            judge("train.jsonl", CrossEncoderJudge("Qwen/Qwen3-Reranker-4B"), "journal.sqlite")

    Args:
        model: a folder, a Hub id, or `package:NAME` for a model that an installed package brings.
        revision: branch, tag or commit of a Hub model.
        better, worse: scores from which a candidate is labelled so.
        relative: compare with the row's best ground truth instead of taking the score as it is.
        batch_size: pairs scored at once.
        batch_rows: rows the judge likes to get at once.
        device: torch device, None for the library's choice.
        max_chars: a longer text is cut before it is tokenised; the model cuts at its own window after that. Either way
            the judgement says so.
        exempt_subsets: subsets that are not judged.
        form: "qwen3-reranker" to ask a causal model as Qwen3-Reranker is asked; "auto" does so with a qwen3 model that
            is called a reranker and whose chat template shows no document.
        instruction: of that form; None for the one of its model card.

    Raises:
        ConfigError: a setting is out of its range or, on first use, the model cannot be loaded or gives more than one
            score.
    """

    kind = "cross-encoder"

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        better: float = 0.5,
        worse: float = 0.2,
        relative: bool = False,
        batch_size: int = 32,
        batch_rows: int = 64,
        device: str | None = None,
        max_chars: int = 8000,
        exempt_subsets: Iterable[str] = ("arguana",),
        form: str = "auto",
        instruction: str | None = None,
    ) -> None:
        check_text("model", model)
        if form not in ("auto", FORM):
            raise ConfigError(f"form: expected auto or {FORM}, found {form!r}")
        for name, value in (("revision", revision), ("device", device), ("instruction", instruction)):
            if value is not None:
                check_text(name, value)
        check_thresholds(better, worse)
        check_yes_or_no("relative", relative)
        check_number("batch_size", batch_size, 1, 100_000, whole=True)
        check_number("batch_rows", batch_rows, 1, 100_000, whole=True)
        check_number("max_chars", max_chars, 1, 10_000_000, whole=True)
        self.name, self.revision, self.device = model, revision, device
        self.better, self.worse, self.relative = float(better), float(worse), relative
        self.batch_size, self.batch_rows, self.max_chars = batch_size, batch_rows, max_chars
        self.exempt_subsets = subset_set("exempt_subsets", exempt_subsets)
        self.form, self.instruction = form, instruction

    def settings(self) -> dict[str, JSON]:
        return {
            "formula": "relative/2" if self.relative else "probability/2",
            "better": self.better,
            "worse": self.worse,
            "max_chars": self.max_chars,
            **({} if self.form == "auto" else {"form": self.form}),
            **({} if self.instruction is None else {"instruction": self.instruction}),
            **({} if self.relative else {"max_positives": 0}),  # the score is of query and candidate alone
        }

    def judge(self, batch: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        """One dict per batch item. Each pair of texts of the batch is scored once."""
        pairs: dict[_Pair, bool] = {}
        for row, positions in batch:
            for position in positions:
                pairs.setdefault(*self._pair(row, row.negative_passages[position]))
            for passage in row.positive_passages if self.relative else ():
                pairs.setdefault(*self._pair(row, passage))
        scores = dict(zip(pairs, self._scores(list(pairs)), strict=True))
        too_long = self._too_long([pair for pair, was_cut in pairs.items() if not was_cut])
        cut = {pair for pair, was_cut in pairs.items() if was_cut} | too_long
        return [
            {position: self._judged(row, position, scores, cut) for position in positions} for row, positions in batch
        ]

    def _judged(self, row: Row, position: int, scores: dict[_Pair, float], cut: set[_Pair]) -> Judgement:
        pair, _ = self._pair(row, row.negative_passages[position])
        score = scores[pair]
        if self.relative and row.positive_passages:
            best = max(scores[self._pair(row, passage)[0]] for passage in row.positive_passages)
            score = (1 + score - best) / 2
        # Rounded, because the last bits depend on what else is in a batch.
        score = round(min(max(score, 0.0), 1.0), SCORE_DIGITS)
        label = Label.BETTER if score >= self.better else Label.WORSE if score >= self.worse else Label.IRRELEVANT
        return Judgement(label, score=score, cut=pair in cut)

    def _pair(self, row: Row, passage: Passage) -> tuple[_Pair, bool]:
        """Query and passage as the model gets them, and whether either was cut."""
        text = joined_text(passage.title, passage.text)
        shown = self._disarmed(row.query[: self.max_chars]), self._disarmed(text[: self.max_chars])
        return shown, max(len(row.query), len(text)) > self.max_chars

    def _disarmed(self, text: str) -> str:
        """The text without the model's special tokens: each has a space after its first character."""
        if self._special is None:
            return text
        return self._special.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)

    @cached_property
    def _special(self) -> re.Pattern[str] | None:
        """What matches any special token of the tokenizer, the longest first."""
        tokenizer = getattr(self._loaded, "tokenizer", None)
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        tokens = {str(token) for token in added if token.special} | set(getattr(tokenizer, "all_special_tokens", ()))
        spelled = sorted((token for token in tokens if len(token) > 1), key=lambda token: (-len(token), token))
        return re.compile("|".join(map(re.escape, spelled))) if spelled else None

    def _scores(self, pairs: list[_Pair]) -> list[float]:
        import torch

        if not pairs:
            return []
        try:
            logits = self._loaded.predict(
                [list(pair) for pair in pairs],
                batch_size=self.batch_size,
                show_progress_bar=False,
                activation_fn=torch.nn.Sigmoid(),
                convert_to_numpy=True,
            )
        except ValueError as error:  # such as a chat template that shows no document
            raise ConfigError(f"The model {self.name!r} cannot score pairs: {_first_line(error)}") from error
        if logits.ndim != 1:
            raise ConfigError(f"The model {self.name!r} gives {logits.shape[-1]} scores for a pair; a judge needs one.")
        return [float(score) for score in logits.astype("float64")]

    def _too_long(self, pairs: list[_Pair]) -> set[_Pair]:
        """Pairs that the model cuts at its window."""
        model = self._loaded
        window, tokenizer = getattr(model, "max_seq_length", None), getattr(model, "tokenizer", None)
        if not pairs or not window or tokenizer is None:
            return set()
        # No text has more tokens than characters, but for a few around it; a chat template has any number.
        around = window if self._has_template else 8
        doubtful = [pair for pair in pairs if len(pair[0]) + len(pair[1]) + around > window]
        if not doubtful:
            return set()
        return {pair for pair, length in zip(doubtful, self._lengths(doubtful), strict=True) if length > window}

    def _lengths(self, pairs: list[_Pair]) -> list[int]:
        """Tokens of each pair before the model cuts it, with those of its chat template where it has one."""
        model = self._loaded
        if not self._has_template:
            first, second = zip(*pairs, strict=True)
            tokens = model.tokenizer(list(first), list(second), truncation=False, return_length=True, verbose=False)
            return [int(length) for length in tokens["length"]]
        uncut = {"text": {"truncation": False, "verbose": False}}
        lengths: list[int] = []
        for start in range(0, len(pairs), self.batch_size):
            part = [list(pair) for pair in pairs[start : start + self.batch_size]]
            lengths += model.preprocess(part, processing_kwargs=uncut)["attention_mask"].sum(dim=1).tolist()
        return lengths

    @property
    def _has_template(self) -> bool:
        return "message" in getattr(self._loaded[0], "modality_config", ())

    @cached_property
    def _model(self) -> Any:
        with needs("similarity", "The cross-encoder judge"):
            from sentence_transformers import CrossEncoder
            from transformers.utils import logging as transformers_logging
        if not sys.stderr.isatty():
            transformers_logging.disable_progress_bar()
        only = only_cached(self.name, self.revision)
        template = template_for(self.name, self.revision, self.form, self.instruction, local_files_only=only)
        options = {} if template is None else {"processor_kwargs": {"chat_template": template}}
        return make_model(
            CrossEncoder, self.name, revision=self.revision, local_files_only=only, device=self.device, **options
        )

    @property
    def _loaded(self) -> Any:
        return self._model


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]

"""What judges that show one row's texts in a prompt have in common: settings, wording, language and cutting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.ground_truth import shown_positives
from hf_relabel.builders.judges.prompted.fencing import digest_of, fence_key, pattern_of
from hf_relabel.builders.judges.prompted.passage_cutting import (
    CutRule,
    Shown,
    check_cut_rule,
    shown_passage,
    shown_text,
)
from hf_relabel.builders.judges.prompted.prompt_files import in_language, prompt_sha256, versions, wordings
from hf_relabel.builders.judges.protocols import JSON
from hf_relabel.builders.judges.settings import check_number, check_text
from hf_relabel.builders.rows import Passage, Row, subset_key
from hf_relabel.builders.sources.subsets import subset_map, subset_set


def scidocsrr_wording() -> dict[str, str]:
    """The paper's one exception: related to the title of a paper, not answering a question."""
    return {"SciDocsRR": "related", "scidocs_reranking": "related"}


class ShownRow(NamedTuple):
    """A row as its prompts show it.

    Attributes:
        key: of the fences.
        negatives: of all negatives asked about, by position.
        cut: whether the query or a ground truth was cut; `cut_negatives` are the positions of those that were.
    """

    key: str
    query: str
    positives: list[Shown]
    negatives: dict[int, Shown]
    cut: bool
    cut_negatives: frozenset[int]

    def cut_of(self, positions: Sequence[int]) -> frozenset[int]:
        """Which of the positions are judged on a part of the text."""
        return frozenset(positions) if self.cut else self.cut_negatives.intersection(positions)


@dataclass(frozen=True, eq=False, kw_only=True)
class PromptedJudge:
    """Settings of a judge that asks a server.

    Attributes:
        prompt: version of the prompt files.
        language: of the prompt; what the judge replies with stays the same.
        wording: what makes a candidate relevant: "answer" (it answers the query) or "related" (it is work related to
            the paper whose title is the query).
        wordings: other wordings by subset. The paper has one for SciDocsRR. Case and punctuation do not matter.
        exempt_subsets: subsets that are not judged at all. In ArguAna the right result contradicts the query.
        max_passage_chars: a longer query, title or passage is cut, with a mark for what was left out, and its
            judgements say so.
        max_positives, max_positive_tokens: how many ground truths a prompt shows, and how many tokens of them,
            estimated by length. Of more it shows the shortest, those first that are not cut; one in any case.
        cut: what is kept of a longer passage: its first characters (`head`) or the stretch that shares most with the
            query (`window`). Of a query and a title it is always the first characters.
        special_tokens: what the served model reads as control tokens, beside what looks like one. Where its tokenizer
            is on this machine it need not be given.

    Raises:
        ConfigError: a setting is out of its range.
    """

    prompt: str
    language: str = "en"
    wording: str = "answer"
    wordings: Mapping[str, str] = field(default_factory=scidocsrr_wording)
    exempt_subsets: Iterable[str] = ("arguana",)
    max_passage_chars: int = 8000
    max_positives: int = 10
    max_positive_tokens: int = 4000
    cut: CutRule = "head"
    special_tokens: Iterable[str] = ()

    def __post_init__(self) -> None:
        for name in ("prompt", "language", "wording"):
            check_text(name, getattr(self, name))
        check_number("max_passage_chars", self.max_passage_chars, 1, 10_000_000, whole=True)
        check_number("max_positives", self.max_positives, 1, 1000, whole=True)
        check_number("max_positive_tokens", self.max_positive_tokens, 1, 10_000_000, whole=True)
        check_cut_rule(self.cut)
        if isinstance(self.special_tokens, str):
            raise ConfigError(f"special_tokens: expected a list of texts, found {self.special_tokens!r}")
        for token in self.special_tokens:
            check_text("special_tokens", token)
        family = self.prompt.partition("-")[0]
        own = [version for version in versions() if version.partition("-")[0] == family]
        if self.version not in own or family != self._family():
            there = ", ".join(version for version in versions() if version.startswith(f"{self._family()}-"))
            raise ConfigError(
                f"prompt: no version {self.prompt!r} in language {self.language!r} for this judge; there is {there}"
            )
        object.__setattr__(self, "wordings", subset_map("wordings", self.wordings))
        object.__setattr__(self, "exempt_subsets", subset_set("exempt_subsets", self.exempt_subsets))
        known = wordings(self.version)
        for word in (self.wording, *self.wordings.values()):
            if word not in known:
                raise ConfigError(f"wording: {self.version} has no wording {word!r}; it has {', '.join(known)}")

    def _family(self) -> str:
        """What the names of this judge's prompt files begin with."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """The name of the prompt files, language included."""
        return in_language(self.prompt, self.language)

    def settings(self) -> dict[str, JSON]:
        return {
            "prompt": self.prompt,
            "language": self.language,
            "prompt_sha256": prompt_sha256(self.version),
            "wording": self.wording,
            "wordings": dict(self.wordings),
            "max_passage_chars": self.max_passage_chars,
            "max_positives": self.max_positives,
            "max_positive_tokens": self.max_positive_tokens,
            "cut": self.cut,
        }

    @cached_property
    def _special(self) -> re.Pattern[str] | None:
        return pattern_of(self.special_tokens)

    def wording_of(self, row: Row) -> str:
        """The wording for the row's subset."""
        return self.wordings.get(subset_key(row.subset), self.wording)

    def fitting(self, row: Row) -> tuple[Row, int]:
        """The row with the ground truths that its prompts show, and how many they leave out."""
        bounds = self.max_positives, self.max_positive_tokens, self.max_passage_chars
        shown = shown_positives(row.positive_passages, *bounds)
        left_out = len(row.positive_passages) - len(shown)
        return (replace(row, positive_passages=shown), left_out) if left_out else (row, 0)

    def shown(self, row: Row, positions: Sequence[int], row_digest: bytes, *, positives: bool = True) -> ShownRow:
        """The row's texts, made harmless and cut, and a key for the fences that none of them contains."""

        def showing(passage: Passage) -> tuple[Shown, bool]:
            return shown_passage(passage, row.query, max_chars=self.max_passage_chars, rule=self.cut, special=special)

        special = self._special
        query, query_cut = shown_text(row.query, max_chars=self.max_passage_chars, special=special)
        truth = [showing(passage) for passage in row.positive_passages] if positives else []
        negatives = {position: showing(row.negative_passages[position]) for position in positions}
        everything = [*truth, *negatives.values()]
        key = fence_key(row_digest, [query, *(text for passage, _ in everything for text in passage)])
        return ShownRow(
            key=key,
            query=query,
            positives=[passage for passage, _ in truth],
            negatives={position: passage for position, (passage, _) in negatives.items()},
            cut=query_cut or any(was_cut for _, was_cut in truth),
            cut_negatives=frozenset(position for position, (_, was_cut) in negatives.items() if was_cut),
        )


def row_digest(row: Row, *more: str) -> bytes:
    """Stands for the query and the positives, and whatever else decides how a row is shown."""
    positives = (text for passage in row.positive_passages for text in (passage.title, passage.text))
    return digest_of(*more, row.query, *positives)

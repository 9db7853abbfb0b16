"""By what a judgement is found again: who judged, which row, which candidates."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from hf_relabel.builders.ground_truth import shown_positives
from hf_relabel.builders.hashing import feed
from hf_relabel.builders.judgements import ANSWERS_BY
from hf_relabel.builders.rows import Passage, Row, subset_key

KEY_BYTES = 16
KeysOf = Callable[[Row, Sequence[int]], list[bytes]]
"""Gives the journal keys of some candidates of a row, `KEY_BYTES` each."""

MAX_TOKENS = "max_tokens"
"""The setting that decides nothing but whether a reply was cut off, which is no answer."""
_BY_ROW = frozenset({"wording", "wordings", "max_positives", "max_positive_tokens"})
"""Settings that decide on some rows only: there the key holds what they come to."""
_SINCE_0_2 = frozenset({"max_positives", "max_positive_tokens"})
_YEAR = re.compile(r"[-_.]?\d{4}$")


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """What the journal knows a judge by. Any change makes it another judge."""

    kind: str
    model: str
    revision: str | None
    settings: dict[str, Any]

    def to_json(self, without: frozenset[str] = frozenset()) -> str:
        settings = {name: value for name, value in self.settings.items() if name not in without}
        parts = {"kind": self.kind, "model": self.model, "revision": self.revision, "settings": settings}
        return json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    def describe(self) -> str:
        """The judge as people name it: `listwise some/model@0123456789ab`."""
        revision = f"@{self.revision[:12]}" if self.revision else ""
        return f"{self.kind} {self.model}{revision}"

    def says_the_same_as(self, other: JudgeIdentity) -> bool:
        """Whether the answers of one are those of the other."""
        return self.to_json(frozenset({MAX_TOKENS})) == other.to_json(frozenset({MAX_TOKENS}))

    def keys(self) -> KeysOf:
        """What gives the journal keys of some candidates of a row.

        They hold what the judge is shown: the wording that the row's subset gets but not the name of the subset, the
        ground truths that fit the prompt, ids where it answers by them (`answers_by`), and all candidates where its
        answer depends on them. Not how long a reply may be.
        """
        return partial(_keys, _digest("2" + self.to_json(_BY_ROW | {MAX_TOKENS})), self.settings)

    def old_keys(self) -> list[KeysOf]:
        """The same as version 0.1 made them, with the row's subset: under the name it has, and under that which the
        file `trec-2019.jsonl` gave it."""
        digest, by_ids = _digest(self.to_json(_SINCE_0_2)), self.settings.get(ANSWERS_BY) == "ids"

        def under_short_name(row: Row, positions: Sequence[int]) -> list[bytes]:
            return _old_keys(digest, by_ids, replace(row, subset=_YEAR.sub("", row.subset)), positions)

        return [partial(_old_keys, digest, by_ids), under_short_name]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest()


def _keys(digest: bytes, settings: Mapping[str, Any], row: Row, positions: Sequence[int]) -> list[bytes]:
    # The first half is the row's, so that the answers of one reply lie side by side in the file: writing them touches
    # one page of it, and reading them too, however many millions there are. The second half is of row and candidate.
    by = settings.get(ANSWERS_BY)
    positives: Sequence[Passage] = row.positive_passages
    if (most := settings.get("max_positives")) is not None:
        bounds = settings.get("max_positive_tokens"), settings.get("max_passage_chars")
        positives = shown_positives(positives, most, *bounds)
    row_hash = hashlib.blake2b(digest, digest_size=KEY_BYTES // 2)
    feed(row_hash, _wording(settings, row), row.query, str(len(positives)), *((row.query_id,) if by == "ids" else ()))
    for passage in (*positives, *(row.negative_passages if by == "row" else ())):
        feed(row_hash, passage.title, passage.text)
    return _of_candidates(row_hash, row, positions, by == "ids")


def _wording(settings: Mapping[str, Any], row: Row) -> str:
    wordings = settings.get("wordings")
    return str(wordings.get(subset_key(row.subset), settings["wording"])) if wordings is not None else ""


def _old_keys(digest: bytes, by_ids: bool, row: Row, positions: Sequence[int]) -> list[bytes]:
    row_hash = hashlib.blake2b(digest, digest_size=KEY_BYTES // 2)
    feed(row_hash, row.subset, row.query, str(len(row.positive_passages)), *((row.query_id,) if by_ids else ()))
    for passage in row.positive_passages:
        feed(row_hash, passage.title, passage.text)
    return _of_candidates(row_hash, row, positions, by_ids)


def _of_candidates(row_hash: hashlib.blake2b, row: Row, positions: Sequence[int], by_ids: bool) -> list[bytes]:
    prefix = row_hash.digest()
    return [prefix + _candidate_hash(row_hash, row.negative_passages[position], by_ids) for position in positions]


def _candidate_hash(row_hash: hashlib.blake2b, passage: Passage, by_ids: bool) -> bytes:
    candidate_hash = row_hash.copy()
    feed(candidate_hash, passage.title, passage.text, *((passage.docid,) if by_ids else ()))
    return candidate_hash.digest()


def storable(text: str) -> str:
    """Untrusted text may hold lone surrogates, which neither SQLite nor a file of text can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

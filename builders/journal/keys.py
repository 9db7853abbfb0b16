"""By what a judgement is found again: who judged, which row, which candidates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from hf_relabel.builders.judgements import ANSWERS_BY
from hf_relabel.builders.rows import Passage, Row

KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class JudgeIdentity:
    """What the journal knows a judge by. Any change makes it another judge."""

    kind: str
    model: str
    revision: str | None
    settings: dict[str, Any]

    def to_json(self) -> str:
        parts = {"kind": self.kind, "model": self.model, "revision": self.revision, "settings": self.settings}
        return json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    def describe(self) -> str:
        """The judge as people name it: `listwise some/model@0123456789ab`."""
        revision = f"@{self.revision[:12]}" if self.revision else ""
        return f"{self.kind} {self.model}{revision}"

    def digest(self) -> bytes:
        return hashlib.blake2b(self.to_json().encode(), digest_size=KEY_BYTES).digest()

    def keys(self) -> Callable[[Row, Sequence[int]], list[bytes]]:
        """What gives the journal keys of some candidates of a row, see `candidate_keys`."""
        return partial(candidate_keys, self.digest(), by_ids=self.settings.get(ANSWERS_BY) == "ids")


def candidate_keys(judge_digest: bytes, row: Row, positions: Sequence[int], *, by_ids: bool = False) -> list[bytes]:
    """The journal keys of some candidates of a row, 16 bytes each. Ids play no part, since they say nothing of the
    text, unless `by_ids`: for a judge that answers by them.

    The first half is the row's, so that the answers of one reply lie side by side in the file: writing them touches one
    page of it, and reading them too, however many millions there are. The second half is of row and candidate.
    """
    row_hash = hashlib.blake2b(judge_digest, digest_size=KEY_BYTES // 2)
    _feed(row_hash, row.subset, row.query, str(len(row.positive_passages)), *((row.query_id,) if by_ids else ()))
    for passage in row.positive_passages:
        _feed(row_hash, passage.title, passage.text)
    prefix = row_hash.digest()
    return [prefix + _candidate_hash(row_hash, row.negative_passages[position], by_ids) for position in positions]


def _candidate_hash(row_hash: hashlib.blake2b, passage: Passage, by_ids: bool) -> bytes:
    candidate_hash = row_hash.copy()
    _feed(candidate_hash, passage.title, passage.text, *((passage.docid,) if by_ids else ()))
    return candidate_hash.digest()


def _feed(target: hashlib.blake2b, *texts: str) -> None:
    # Lengths keep ("ab", "c") apart from ("a", "bc").
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        target.update(len(data).to_bytes(8, "little"))
        if data:
            target.update(data)


def storable(text: str) -> str:
    """Untrusted text may hold lone surrogates, which neither SQLite nor a file of text can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()

"""Saved replies of the RLHN reference implementation, read as judgements without asking anyone again.

Each saved row has a `response`: reasoning on `Doc (1)`, `Doc (2)` …, then `<better> … [Doc (2)] </better>` and
`<worse> … [] </worse>`. `Doc (i)` is the i-th passage of `negative_passages` as stored, counted from 1. The reference
reads an unreadable reply as "no false negatives", `Doc (0)` as the last passage, and an id in both lists twice; here
such a reply says nothing (see `hf_relabel.builders.judges.prompted.reply_parsing`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from hf_relabel.builders.endpoint import FinishReason
from hf_relabel.builders.judgements import ANSWERS_BY, Judgement, Label
from hf_relabel.builders.judges.prompted.reply_parsing import judgements_of, parse_reply
from hf_relabel.builders.judges.protocols import JSON
from hf_relabel.builders.judges.settings import check_text
from hf_relabel.builders.rows import Row

_ENDED = frozenset({"stop", "eos_token", "stop_sequence", "end_turn"})
_CUT_OFF = frozenset({"length", "max_tokens"})
# fiqa.stage_1.gpt-4o-mini -> gpt-4o-mini
_STAGE = re.compile(r"(?:^|\.)stage_?[0-9]+\.(.+)$")

Saved = str | Sequence[str] | None
"""How the files hold a value: bare, as a list of one, or not at all."""


def read_rlhn_response(row: Row, response: Saved, finish_reason: Saved) -> dict[int, Judgement]:
    """One judgement for each negative of the row, by 0-based position. Never raises on any response text.

    Args:
        response: the `response` field; None or an empty list (no reply was saved) gives `FAILED`.
        finish_reason: the `finish_reason` field, "stop" or ["stop"] in the published files.
    """
    positions = range(len(row.negative_passages))
    text = _single(response)
    if text is None:
        return dict.fromkeys(positions, Judgement(Label.FAILED, rationale="no reply was saved for this row"))
    parsed = parse_reply(text, _finish_reason(finish_reason), len(positions), constrained=False)
    return judgements_of(parsed, positions)


def _single(value: Saved) -> str | None:
    """The text of a field that is bare in some files and a list of one in others."""
    if value is None or isinstance(value, str):
        return value
    texts = [text for text in value if isinstance(text, str)]
    return texts[0] if texts else None


def _finish_reason(saved: Saved) -> FinishReason:
    reason = (_single(saved) or "").lower()
    if reason in _CUT_OFF:
        return "length"
    return "stop" if reason in _ENDED else "other"


class SavedRepliesJudge:
    """Reads the replies of a saved RLHN file.

    Example:
            replies = open_source("replies.jsonl", format="rlhn-replies")
            stage = Stage("gpt-4o", SavedRepliesJudge("gpt-4o"), replies=replies)
            judge(replies, stage, "journal.sqlite")

    Args:
        name: the file's name or its stem, such as `fiqa.stage_1.gpt-4o-mini.jsonl`; the model's name is taken from it.

    Raises:
        ConfigError: the name is not text.
    """

    kind = "saved-replies"
    exempt_subsets = ()

    def __init__(self, name: str) -> None:
        check_text("name", name)
        stem = re.sub(r"\.(?:jsonl|json)(?:\.(?:gz|zst))?$", "", os.path.basename(name))
        stage = _STAGE.search(stem)
        self.name = stage[1] if stage else stem

    def settings(self) -> dict[str, JSON]:
        return {"format": "rlhn", ANSWERS_BY: "ids"}

    def judgements(self, row: Row, response: Saved, finish_reason: Saved) -> dict[int, Judgement]:
        """See `read_rlhn_response`."""
        return read_rlhn_response(row, response, finish_reason)

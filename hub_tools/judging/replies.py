"""Replies as judgements, whatever a server wrote, and when there is no use in asking on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.protocols import Ask, PromptJudge
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.rows import Row
from hf_relabel.hub_tools.endpoints.scheduling.rows_of_failures import RowsOfFailures
from hf_relabel.hub_tools.hub.redaction import short


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a request in flight is about.

    Attributes:
        number: which request of its judge it is.
    """

    ask: Ask
    row: Row
    keys: dict[int, bytes]
    number: int


class ReplyReader:
    """Reads the replies to a judge.

    Args:
        most: replies in a row of which nothing can be read, after which there is no use in asking on.

    Attributes:
        hopeless: why, "" where there is hope.
    """

    def __init__(self, judge: PromptJudge, most: int) -> None:
        self._judge, self._most = judge, most
        self._unreadable = RowsOfFailures()
        self.hopeless = ""

    def read(self, waiting: Waiting, reply: Reply) -> dict[int, Judgement]:
        """A judgement for each candidate. An error on the way is the failure of this one reply, which says so."""
        try:
            judgements = dict(self._judge.read(waiting.ask, reply))
        except Exception as error:
            why = f"The reply could not be handled: {type(error).__name__} {short(str(error))}"
            judgements = dict.fromkeys(waiting.keys, Judgement(Label.UNPARSABLE, rationale=why))
        if all(judgement.label is Label.UNPARSABLE for judgement in judgements.values()):
            self._note(waiting.number, judgements, reply)
        return judgements

    def _note(self, number: int, judgements: Mapping[int, Judgement], reply: Reply) -> None:
        in_a_row = self._unreadable.add(number, "unreadable")
        if in_a_row >= self._most and not self.hopeless:
            why = next((judgement.rationale for judgement in judgements.values()), "").rstrip(".")
            said = short(reply.text, limit=100)
            self.hopeless = f"{counted(in_a_row, 'reply')} in a row could not be read ({why}); the last: {said!r}"

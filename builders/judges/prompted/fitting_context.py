"""Prompts that fit what a server takes: longer ones are split, then cut, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from hf_relabel.builders.endpoint import EndpointInfo, Reply, Request
from hf_relabel.builders.judgements import Judgement
from hf_relabel.builders.judges.prompted.base import PromptedJudge
from hf_relabel.builders.judges.protocols import JSON, Ask, PromptJudge
from hf_relabel.builders.rows import Row

BYTES_PER_TOKEN = 3
"""Of UTF-8, on the safe side: English has more than 4, Chinese 3 to 5."""
TOKENS_PER_MESSAGE = 16
"""What a chat template puts around one, on the safe side."""
REPLY_SHARE = 4
"""At least a quarter of the context is left to the reply, or all that the judge asks for."""
SHORTEST_PASSAGE = 250
"""Characters to which a passage is cut at most."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a server takes, in tokens; None where it does not say.

    Attributes:
        context: of prompt and reply together.
        prompt: of the prompt alone.
    """

    context: int | None = None
    prompt: int | None = None

    @classmethod
    def of(cls, info: EndpointInfo) -> Room:
        """What a server says that it takes."""
        told = (info.max_total_tokens, info.max_input_tokens)
        return cls(*(value if isinstance(value, int) and value > 0 else None for value in told))

    def for_prompt(self, max_tokens: int) -> int | None:
        """The most tokens a prompt may have beside a reply of up to so many; None for no bound."""
        left = None if self.context is None else self.context - min(max_tokens, self.context // REPLY_SHARE)
        return min((bound for bound in (left, self.prompt) if bound is not None), default=None)

    def describe(self) -> str:
        """`2,048 tokens`."""
        return f"{self.context or self.prompt:,} tokens"


def smallest(rooms: Iterable[Room]) -> Room:
    """What all servers take."""
    found = list(rooms)
    return Room(
        min((room.context for room in found if room.context is not None), default=None),
        min((room.prompt for room in found if room.prompt is not None), default=None),
    )


def fitted(judge: PromptJudge, room: Room) -> PromptJudge:
    """The judge with prompts that have room; the judge itself where nothing bounds them."""
    return Fitted(judge, room) if room != Room() and isinstance(judge, PromptedJudge) else judge


class Fitted:
    """A judge whose prompts have room.

    A prompt that has none is asked in several, of fewer candidates each; where one candidate is too long still,
    passages and ground truths are cut shorter, which their judgements say (`cut`). Prompts that have room stay as they
    are. The reply gets what is left, at most what the judge asks for.
    """

    def __init__(self, judge: PromptJudge, room: Room) -> None:
        self.judge, self.room, self.kind = judge, room, judge.kind
        self._narrower: dict[int, list[PromptJudge]] = {}

    @property
    def exempt_subsets(self) -> Iterable[str]:
        return self.judge.exempt_subsets

    def settings(self) -> dict[str, JSON]:
        return self.judge.settings()

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        return self.judge.read(ask, reply)

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        """As the judge's own, split and cut where need be."""
        own = self.judge.asks(row, positions, constrained=constrained)
        return [self._bounded(ask) for whole in own for ask in self._fitting(row, whole, constrained)]

    def is_changed(self, row: Row, positions: Sequence[int], *, constrained: bool) -> bool:
        """Whether a row's prompts are split or cut."""
        return not all(self._fits(ask.request) for ask in self.judge.asks(row, positions, constrained=constrained))

    def _fitting(self, row: Row, whole: Ask, constrained: bool) -> list[Ask]:
        asks = [whole]
        for judge in self._ladder(len(whole.positions)):
            if all(self._fits(ask.request) for ask in asks):
                break
            asks = judge.asks(row, whole.positions, constrained=constrained)
        return asks

    def _ladder(self, candidates: int) -> list[PromptJudge]:
        if candidates not in self._narrower:
            self._narrower[candidates] = list(narrower(self.judge, candidates))
        return self._narrower[candidates]

    def _fits(self, request: Request) -> bool:
        most = self.room.for_prompt(request.max_tokens)
        return most is None or tokens(request) <= most

    def _bounded(self, ask: Ask) -> Ask:
        request, context = ask.request, self.room.context
        if context is None or tokens(request) + request.max_tokens <= context:
            return ask
        left = max(context - tokens(request), context // REPLY_SHARE)
        return replace(ask, request=replace(request, max_tokens=min(left, request.max_tokens)))


def narrower(judge: Any, candidates: int) -> Iterator[PromptJudge]:
    """The judge with fewer and fewer candidates to a prompt, then with shorter and shorter passages."""
    known = {each.name for each in fields(judge)}
    one: Any = judge
    if "candidates_per_prompt" in known:
        while candidates > 1:
            candidates = (candidates + 1) // 2
            one = replace(judge, candidates_per_prompt=candidates)
            yield one
    chars = min(judge.max_passage_chars, 4000) if "max_passage_chars" in known else 0
    while chars > SHORTEST_PASSAGE:
        chars = max(SHORTEST_PASSAGE, chars // 2)
        truths = {"max_positive_tokens": min(judge.max_positive_tokens, chars // 2)}
        yield replace(one, max_passage_chars=chars, **(truths if "max_positive_tokens" in known else {}))


def tokens(request: Request) -> int:
    """About how many tokens a prompt has, rather too many."""
    size = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in request.messages)
    return size // BYTES_PER_TOKEN + TOKENS_PER_MESSAGE * len(request.messages)

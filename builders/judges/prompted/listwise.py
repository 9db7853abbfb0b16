"""The listwise judge of RLHN (arXiv 2505.16967, section 3): all candidates of a row in one prompt.

The judge reads the query, its positives (the ground truth) and up to 25 candidates, thinks about each, and ends with
two lists: *better* (relevant, at least as good as the ground truth) and *worse* (relevant, less so). The wording of the
prompts is this package's own. What differs from the reference implementation on purpose: at most 25 candidates are in
one prompt, titles are shown, candidates are shuffled so that their rank cannot leak what the miner thought of them, and
a reply that cannot be read counts as no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from hf_relabel.builders.endpoint import Message, Reply, Request
from hf_relabel.builders.judgements import Judgement
from hf_relabel.builders.judges.prompted.base import PromptedJudge, row_digest
from hf_relabel.builders.judges.prompted.prompt_files import template
from hf_relabel.builders.judges.prompted.reply_parsing import judgements_of, parse_reply
from hf_relabel.builders.judges.protocols import JSON, Ask
from hf_relabel.builders.judges.settings import check_number, check_yes_or_no
from hf_relabel.builders.rows import Row

MAX_CANDIDATES = 25
"""Most candidates in one prompt (the paper's limit)."""

MAX_THINKING_CHARS = 1900
"""Default bound of the reasoning in a constrained reply of llama.cpp, in characters. It refuses a grammar that repeats
something 2,000 times, and reads a higher bound as none."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ListwiseJudge(PromptedJudge):
    """Judges up to `candidates_per_prompt` candidates at once.

    Example:
            judge("train.jsonl", ListwiseJudge(candidates_per_prompt=8), "journal.sqlite", endpoint="http://127.0.0.1:8080")

    Attributes:
        candidates_per_prompt: 1 to 25. Longer lists are split as evenly as possible.
        temperature, max_tokens: of the reply; defaults from the paper.
        seed: another seed shuffles the candidates in another way and samples another reply.
        permutation: which order the candidates are shown in. 1 is the reverse of 0, 3 of 2, and so on; each pair is
            shuffled anew. Asking in both orders of a pair, and requiring agreement, takes out what a judge thinks of a
            place rather than of a candidate.
        reasoning: whether the judge thinks before its verdict. Without it replies are short, cheap and less accurate.
        max_thinking_chars: bound of the reasoning in a constrained reply of llama.cpp. Other servers cannot take one;
            there `max_tokens` bounds it.

    The other settings are those of `PromptedJudge`.

    Raises:
        ConfigError: a setting is out of its range.
    """

    prompt: str = "listwise-v1"
    candidates_per_prompt: int = 16
    temperature: float = 0.1
    max_tokens: int = 2048
    seed: int = 0
    permutation: int = 0
    reasoning: bool = True
    max_thinking_chars: int = MAX_THINKING_CHARS

    kind = "listwise"

    def __post_init__(self) -> None:
        PromptedJudge.__post_init__(self)
        check_number("candidates_per_prompt", self.candidates_per_prompt, 1, MAX_CANDIDATES, whole=True)
        check_number("temperature", self.temperature, 0, 2)
        check_number("max_tokens", self.max_tokens, 1, 1_000_000, whole=True)
        check_number("seed", self.seed, 0, 2**63 - 1, whole=True)
        check_number("permutation", self.permutation, 0, 99, whole=True)
        check_number("max_thinking_chars", self.max_thinking_chars, 1, 1_000_000, whole=True)
        check_yes_or_no("reasoning", self.reasoning)

    def _family(self) -> str:
        return "listwise"

    def settings(self) -> dict[str, JSON]:
        return {
            **PromptedJudge.settings(self),
            "reasoning": self.reasoning,
            "candidates_per_prompt": self.candidates_per_prompt,
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "max_thinking_chars": self.max_thinking_chars,
            "seed": self.seed,
            "permutation": self.permutation,
        }

    def asks(self, row: Row, positions: Sequence[int], *, constrained: bool) -> list[Ask]:
        """Prompts that together cover each of `positions` exactly once, in an order drawn from the row's texts."""
        row, left_out = self.fitting(row)
        digest = row_digest(row, str(self.seed))
        order = shuffled(row, positions, digest, self.permutation)
        shown = self.shown(row, order, digest)
        system = _system_prompt(self.version, self.wording_of(row), self.reasoning, constrained)
        user = template(f"{self.version}.user.jinja")
        asks = []
        for index, chunk in enumerate(evenly(order, self.candidates_per_prompt)):
            candidates = [(number, *shown.negatives[position]) for number, position in enumerate(chunk, 1)]
            content = user.render(key=shown.key, query=shown.query, positives=shown.positives, candidates=candidates)
            request = Request(
                messages=(Message("system", system), Message("user", content)),
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                # 31 bits: some servers read a signed 32-bit seed.
                seed=(int.from_bytes(digest[:4], "big") + index) & 0x7FFFFFFF,
                json_schema=self._schema(len(chunk)) if constrained else None,
            )
            asks.append(Ask(request, chunk, shown.cut_of(chunk), positives_left_out=left_out))
        return asks

    def read(self, ask: Ask, reply: Reply) -> dict[int, Judgement]:
        constrained = ask.request.json_schema is not None
        parsed = parse_reply(reply.text, reply.finish_reason, len(ask.positions), constrained)
        return judgements_of(parsed, ask.positions, reply.prompt_tokens, reply.completion_tokens, cut=ask.cut)

    def _schema(self, count: int) -> dict[str, Any]:
        return _schema(count, self.max_thinking_chars if self.reasoning else 0)


def shuffled(row: Row, positions: Sequence[int], digest: bytes, permutation: int = 0) -> list[int]:
    """The positions, each once, in the order of a hash of the row and the candidate's own text.

    So the order depends neither on the machine nor on the order of the negatives, and asking about some of the
    candidates shows them in the same order as asking about all. Odd permutations are the even one before, reversed.
    """
    pair, is_reversed = divmod(permutation, 2)
    hash_key = digest if not pair else blake2b(bytes([pair]), key=digest, digest_size=32).digest()

    keyed = blake2b(key=hash_key, digest_size=8)

    def place(position: int) -> tuple[bytes, int]:
        passage = row.negative_passages[position]
        text_hash = keyed.copy()  # reading the key once for all
        text_hash.update(f"{passage.title}\n{passage.text}".encode("utf-8", "surrogatepass"))
        return text_hash.digest(), position

    return sorted(dict.fromkeys(positions), key=place, reverse=bool(is_reversed))


def evenly(items: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """The items in order, in the fewest chunks of at most `most`, whose lengths differ by one at most."""
    if not items:
        return []
    chunks = -(-len(items) // most)
    short, longer = divmod(len(items), chunks)
    ends = [number * short + min(number, longer) for number in range(chunks + 1)]
    return [tuple(items[start:end]) for start, end in pairwise(ends)]


@lru_cache(maxsize=64)
def _system_prompt(version: str, wording: str, reasoning: bool, constrained: bool) -> str:
    return template(f"{version}.system.jinja").render(
        version=version, wording=wording, reasoning=reasoning, constrained=constrained
    )


@lru_cache(maxsize=256)
def _schema(count: int, max_thinking_chars: int) -> dict[str, Any]:
    """The JSON schema of a verdict on `count` candidates. Shared between requests: do not change it."""
    ids = {"type": "array", "items": {"type": "integer", "enum": list(range(1, count + 1))}, "maxItems": count}
    properties: dict[str, Any] = {"better": ids, "worse": ids}
    if max_thinking_chars:
        properties = {"thinking": {"type": "string", "maxLength": max_thinking_chars}, **properties}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }

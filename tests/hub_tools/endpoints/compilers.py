"""The schemas that we send, and what servers compile them with: outlines-core (TGI), xgrammar (vLLM, SGLang).

The vocabulary is SmolLM2's (49,152 tokens, from its GGUF), with pairs of its tokens up to 100,000: as large as those of
today's models, and about as long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import Any

from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.ranking import RankingJudge
from hf_relabel.builders.judges.prompted.spans import SpanJudge
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.endpoints.special_tokens import _metadata
from tests.facade.llama import model_path

SIZE = 100_000
JUDGES: dict[str, tuple[Any, int]] = {
    "listwise": (ListwiseJudge(candidates_per_prompt=25), 25),
    "listwise, no reasoning": (ListwiseJudge(candidates_per_prompt=25, reasoning=False), 25),
    "ranking": (RankingJudge(candidates_per_prompt=20), 20),
    "ranking, reasoning": (RankingJudge(candidates_per_prompt=20, reasoning=True), 20),
    "span": (SpanJudge(), 1),
}
"""Each judge that sends a schema, and how long its lists may be."""


def schemas(judge: str) -> list[dict[str, Any]]:
    """The schema of each list length."""
    made, most = JUDGES[judge]
    row = Row("q", "q", (Passage("p", "", "truth"),), tuple(Passage(str(n), "", f"text {n}") for n in range(most)))
    asked = (made.asks(row, range(length), constrained=True)[0].request for length in range(1, most + 1))
    return [request.json_schema for request in asked]


@cache
def vocabulary() -> list[bytes]:
    """100,000 different tokens as bytes."""
    with model_path().open("rb") as stream:
        real: list[str] = dict(_metadata(stream))["tokenizer.ggml.tokens"]
    shown = byte_of_letter()
    own = [bytes(shown[letter] for letter in token) for token in real if all(letter in shown for letter in token)]
    pairs = (
        first + second for step in range(1, 9) for first, second in zip(own[300:], own[300 + step :], strict=False)
    )
    return list(islice(dict.fromkeys(chain(own, pairs)), SIZE))


@cache
def byte_of_letter() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + number): byte for number, byte in enumerate(others)}


@dataclass(eq=False)
class Tokenizer:
    """A tokenizer as outlines-core asks for one."""

    vocabulary: dict[str, int]
    special_tokens: frozenset[str] = frozenset()
    eos_token_id: int = 0

    def __post_init__(self) -> None:
        letters = byte_of_letter()
        self._bytes = {token: bytes(letters[letter] for letter in token) for token in self.vocabulary}

    def convert_token_to_string(self, token: str) -> str:
        return self._bytes[token].decode("utf-8", "replace")


@cache
def tokenizer() -> Tokenizer:
    letters = {byte: letter for letter, byte in byte_of_letter().items()}
    named = ("".join(letters[byte] for byte in token) for token in vocabulary())
    return Tokenizer({token: number for number, token in enumerate(named, 1)})


@cache
def outlines_states(regex: str) -> Any:
    """The automaton over bytes that TGI's RegexGuide makes of a regular expression, before it meets the vocabulary."""
    import interegular
    from outlines_core.fsm.regex import make_byte_level_fsm, make_deterministic_fsm

    parsed = interegular.parse_pattern(regex).to_fsm()
    return make_deterministic_fsm(make_byte_level_fsm(parsed.reduce(), keep_utf8=True))[0]


def outlines_index(regex: str) -> Any:
    """What TGI compiles, over the whole vocabulary."""
    from outlines_core.fsm.regex import create_fsm_index_tokenizer

    return create_fsm_index_tokenizer(outlines_states(regex), tokenizer())[0]


def xgrammar_compiler(module: Any) -> Callable[[str], Any]:
    """What vLLM and SGLang compile a schema with; without its cache."""
    info = module.TokenizerInfo(vocabulary(), vocab_type=module.VocabType.RAW, stop_token_ids=[0])
    compiler = module.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    compile_: Callable[[str], Any] = compiler.compile_json_schema
    return compile_


def replies(judge: str) -> Iterator[str]:
    """Replies that our parser takes, as models write them."""
    ids = "[2, 1]"
    if judge == "span":
        members = [('"span"', text) for text in _TEXTS]
        yield from (f"{{{name}: {text}}}" for name, text in members)
        yield from ('{"span":""}', '{\n  "span": "x"\n}')
        return
    verdict = f'"order": {ids}' if "ranking" in judge else f'"better": {ids}, "worse": []'
    names = ["thinking"] if judge in ("listwise", "ranking, reasoning") else []
    for text in _TEXTS if names else [""]:
        head = f'"thinking": {text}, ' if names else ""
        yield f"{{{head}{verdict}}}"
        yield f"{{{head}{verdict}}}".replace(", ", ",").replace(": ", ":")
        yield "{\n  " + f"{head}{verdict}".replace(', "', ',\n  "') + "\n}"
        yield "{\n    " + f"{head}{verdict}".replace(', "', ',\n    "').replace(ids, "[\n 2,\n 1\n ]") + "\n}"


_TEXTS = [
    r'"[1] says \"Paris\", as the query asks.\n[2] does not.\n"',
    r'"a back\\slash, a \/ slash, \ttabs, \u00e9 and \ud83d\ude00"',
    '"[1] 东京 is the capital — naïve, ΑΒΓ, العربية, 😀"',
    '""',
]


def refused(judge: str) -> Iterator[str]:
    """What is no reply of that judge."""
    yield from ("", "{}", "Yes", "[1]", '{"other": 1}', "I think that [2] is better.")
    for reply in replies(judge):
        yield from (reply[:-1], f"Sure! {reply}", f"{reply} {reply}", re.sub('": ?', '" ', reply), f"```\n{reply}\n```")
        if "2, 1" in reply:
            wrong = ("0", "-1", "x", "1.5", '"1"', "1,", "[1]", "02", "true")
            yield from (reply.replace("2, 1", value) for value in wrong)
        if r"\"" in reply:
            yield from (reply.replace(r"\"", '"'), reply.replace(r"\n", "\n"), reply.replace(r"\n", r"\q"))

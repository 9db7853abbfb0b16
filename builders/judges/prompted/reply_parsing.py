"""Reading a listwise judge's reply. Pure, linear in the length of the reply, and it never guesses.

A reply holds a reasoning and a verdict of two id lists, as a JSON object or between <better> and <worse> tags. What
counts is the last verdict after the reasoning. Where that cannot be read beyond doubt the whole reply has a `problem`
and says nothing of any candidate; in particular

* a reply that was cut off, or whose last verdict is broken;
* an id that was never shown (0, out of range): the judge has lost count, so its other ids are not to be trusted either;
* an id that is not a plain number (true, 2.0, [2], ٣).

An id that occurs twice in a list counts once. An id in both lists says nothing of that candidate; the others stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_relabel.builders.endpoint import FinishReason
from hf_relabel.builders.judgements import Judgement, Label

MAX_RATIONALE_CHARS = 500


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """What a reply says.

    Attributes:
        better, worse: ids (1-based) in ascending order, without those in both lists.
        conflicting: ids in both lists.
        thinking: the reasoning, "" where there is none.
        problem: why the reply as a whole says nothing, in one line; None where it was read.
    """

    better: tuple[int, ...] = ()
    worse: tuple[int, ...] = ()
    conflicting: tuple[int, ...] = ()
    thinking: str = ""
    problem: str | None = None


class Unreadable(Exception):
    """The reply has no verdict that can be read beyond doubt. The message says why."""


_CUT_OFF = "cut off before the end of its verdict"

THOUGHTS_WITHOUT_END = "<think>"
"""Put before thoughts that no answer follows, where a server tells them apart: so they are read as what they are."""

# Where reasoning stands: our own tags, RLHN's, and those of reasoning models.
# <seed:think> is Seed's, [THINK] Mistral's.
_REASONING = r"(?:(?:seed:)?think|thinking|thought|reasoning|preference)"
_REASONING_OPENS = re.compile(rf"<{_REASONING}\s*>|\[THINK\]", re.IGNORECASE)
_REASONING_CLOSES = re.compile(rf"</{_REASONING}\s*>|\[/THINK\]", re.IGNORECASE)

_TAG_VERDICT = re.compile(
    r"<better\s*>([^<]{0,10000})</better\s*>[\s,;.]*<worse\s*>([^<]{0,10000})</worse\s*>", re.IGNORECASE
)
_VERDICT_PART = re.compile(r'</?(?:better|worse)\b|"(?:better|worse)"\s*:', re.IGNORECASE)
_UNFINISHED_TAG = re.compile(r"</?[a-z]{0,10}\s*\Z", re.IGNORECASE)
_OPENING_BRACE = re.compile(r'\{(?=\s*(?:"|\Z))')
_JSON_FENCE = re.compile(r"\A```[a-z]{0,10}\s*\n(.*)\n\s*```\Z", re.IGNORECASE | re.DOTALL)

# "Preferred over or equally as ground truth: [Doc (2)]": RLHN repeats a label before each list.
_LIST_LABEL = re.compile(r"\A[^0-9:\[\]()]{1,120}:")
_NO_IDS = re.compile(r"\A(?:|-|none|no|nothing|empty|null|n/a|no (?:documents?|candidates?|ids?))\.?\Z", re.IGNORECASE)
_ID = re.compile(
    r"(?:(?:docs?|documents?|candidates?|passages?|ids?)\b\.?\s*)?#?(?:\[\s*([0-9]+)\s*\]|\(\s*([0-9]+)\s*\)|([0-9]+))",
    re.IGNORECASE,
)
# What models write between ids and around them in Chinese, Japanese and Arabic. Other digits stay what they are: no id.
_PLAIN = str.maketrans("０１２３４５６７８９【】［］〔〕（）：、，；＞،؛", "0123456789[][][]():,,;>,;")
# Marks, embeddings and isolates, which say only how a line is drawn. Two numbers with one between them stay unreadable,
# and so does anything with an override (U+202D, U+202E), which turns numbers round.
_DIRECTION = "[\u061c\u200e\u200f\u202a-\u202c\u2066-\u2069]"
_DIRECTIONS = re.compile(rf"(?<!{_DIRECTION})(?:(?<![0-9]){_DIRECTION}++|{_DIRECTION}++(?![0-9]))")


def plain_ids(text: str) -> str:
    """The text with full-width digits and brackets, and the separators of other scripts, as ASCII has them.

    Invisible marks of direction are left out.
    """
    return _DIRECTIONS.sub("", text.translate(_PLAIN))


_BETWEEN_IDS = re.compile(r"\s*[,;]\s*(?:and\s+)?|\s+and\s+|\s+", re.IGNORECASE)

# A line that begins with an id: "[3] …", "【3】…", "(3) …", "Doc (3): …", "3. …", list marks and bold type aside.
_RATIONALE = re.compile(
    r"^[ \t>*_\-•]*(?:(?:docs?|document|candidate|passage|id)[ \t]*#?[\[(]?[ \t]*([0-9]{1,4})(?![0-9])[ \t]*[\])]?"
    r"|[\[(【［（][ \t]*([0-9０-９]{1,4})[ \t]*[\])】］）]|([0-9]{1,4})(?=[:.)][ \t*]))[ \t:：.)*_\-–—]*(\S[^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)


def parse_reply(text: str, finish_reason: FinishReason, count: int, constrained: bool) -> ParsedReply:
    """Read a reply about candidates with the ids 1 to `count`. Never raises.

    Args:
        constrained: whether a JSON schema constrained the reply. Then a whole object is a whole verdict even if the
            server went on to its token limit (with white space, as small models do); a free reply that reached the
            limit may have been about to change its mind, so it counts as cut off.
    """
    try:
        better, worse, thinking = _verdict(text.strip(), finish_reason, constrained)
        found = {_checked(number, count) for number in better}
        less = {_checked(number, count) for number in worse}
    except Unreadable as problem:
        return ParsedReply(problem=str(problem))
    both = found & less
    return ParsedReply(tuple(sorted(found - both)), tuple(sorted(less - both)), tuple(sorted(both)), thinking)


def _verdict(text: str, finish_reason: FinishReason, constrained: bool) -> tuple[list[int], list[int], str]:
    """The two id lists and the reasoning of a stripped reply."""
    whole = whole_object(text)
    if whole is not None and (constrained or finish_reason != "length"):
        return *_lists_of(whole), _thinking_of(whole)
    if finish_reason == "length":
        raise Unreadable(f"the reply reached its token limit and was {_CUT_OFF}")
    if not text:
        raise Unreadable("the reply is empty")
    reasoning, answer = split_reasoning(text)
    return _last_verdict(answer, reasoning)


def answer_of(text: str, finish_reason: FinishReason, constrained: bool) -> dict[str, Any] | str:
    """What a reply that is no listwise verdict ends with: the JSON object that it is, or the text after its reasoning.

    Args:
        constrained: see `parse_reply`.

    Raises:
        Unreadable: it was cut off, is empty, or gives a JSON key twice.
    """
    text = text.strip()
    whole = whole_object(text)
    if whole is not None and (constrained or finish_reason != "length"):
        return whole
    if finish_reason == "length":
        raise Unreadable(f"the reply reached its token limit and was {_CUT_OFF}")
    if not text:
        raise Unreadable("the reply is empty")
    answer = split_reasoning(text)[1].strip()
    whole = whole_object(answer)
    return answer if whole is None else whole


def last_tagged(answer: str, name: str) -> str | None:
    """What stands between the last pair of tags with this name. None if no pair is whole, or a tag comes after it."""
    tags = list(re.finditer(rf"<(/?){name}\b\s*>?", answer, re.IGNORECASE))
    if len(tags) < 2:
        return None
    opening, closing = tags[-2:]
    return answer[opening.end() : closing.start()].strip() if closing[1] and not opening[1] else None


def split_reasoning(text: str) -> tuple[str, str]:
    """The reasoning and what follows its last closing tag. A verdict quoted inside the reasoning is not a verdict."""
    end = 0
    for closing in _REASONING_CLOSES.finditer(text):
        end = closing.end()
    if _REASONING_OPENS.search(text, end):
        raise Unreadable(f"the reply was {_CUT_OFF}: its reasoning does not end")
    return text[:end], text[end:]


def _last_verdict(answer: str, reasoning: str) -> tuple[list[int], list[int], str]:
    """The last verdict of an answer, provided nothing after it looks like the start of another."""
    tags = None
    for match in _TAG_VERDICT.finditer(answer):
        tags = match
    found, start, end = _last_object(answer)
    if found is not None and (tags is None or tags.start() < end):  # tags before or inside an object do not count
        if answer.count("{", 0, start) > answer.count("}", 0, start):
            raise Unreadable("the reply holds a broken JSON object")
        lists = _lists_of(found)
        reasoning = f"{reasoning}{answer[:start]}\n{_thinking_of(found)}"
    elif tags is not None:
        start, end = tags.span()
        lists = _ids_in(tags[1]), _ids_in(tags[2])
        reasoning += answer[:start]
    elif _VERDICT_PART.search(answer):
        raise Unreadable("the reply has no complete <better> and <worse> lists")
    else:
        raise Unreadable("the reply holds no verdict")
    if _VERDICT_PART.search(answer, end) or _UNFINISHED_TAG.search(answer, end):
        raise Unreadable("the reply begins another verdict after its last complete one")
    return *lists, reasoning.strip()


class _Duplicate(ValueError):
    """A key occurs twice in a JSON object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _Duplicate
    return values


# strict=False: models put raw line breaks in strings.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, strict=False)


def whole_object(text: str) -> dict[str, Any] | None:
    """The JSON object that is the whole text, a ``` fence around it aside; None where it is not one."""
    fenced = _JSON_FENCE.match(text) if text.startswith("```") else None
    body = fenced[1].strip() if fenced else text
    if not body.startswith("{"):
        return None
    try:
        value, end = _DECODER.raw_decode(body)
    except _Duplicate:
        raise Unreadable("the reply gives a JSON key twice") from None
    except (ValueError, RecursionError):
        return None
    return value if end == len(body) and isinstance(value, dict) else None


def _last_object(answer: str) -> tuple[dict[str, Any] | None, int, int]:
    """The last JSON object in the answer, and where it starts and ends.

    Braces in prose are passed over, but an object that breaks off or is broken makes the reply unreadable: what stands
    inside it may be a quotation.
    """
    found: dict[str, Any] | None = None
    start = end = 0
    while opening := _OPENING_BRACE.search(answer, end):
        start = opening.start()
        try:
            found, end = _DECODER.raw_decode(answer, start)
        except _Duplicate:
            raise Unreadable("the reply gives a JSON key twice") from None
        except (ValueError, RecursionError):
            raise Unreadable("the reply holds a broken JSON object") from None
    return found, start, end


def _lists_of(verdict: dict[str, Any]) -> tuple[list[int], list[int]]:
    return _json_ids(verdict, "better"), _json_ids(verdict, "worse")


def _thinking_of(verdict: dict[str, Any]) -> str:
    thinking = verdict.get("thinking")
    return thinking if isinstance(thinking, str) else ""


def _json_ids(verdict: dict[str, Any], key: str) -> list[int]:
    values = verdict.get(key)
    if not isinstance(values, list):
        raise Unreadable(f'the verdict has no list "{key}"')
    return [_json_id(value) for value in values]


def _json_id(value: Any) -> int:
    """An id of a JSON list: 3, "3" or "Doc (3)"."""
    if type(value) is int:  # not isinstance: True is no id
        return value
    if isinstance(value, str) and (match := _ID.fullmatch(plain_ids(value).strip())):
        return _number(match)
    raise Unreadable(f"the verdict lists {_short(value)}, which is no id")


def _ids_in(content: str) -> list[int]:
    """The ids between a pair of tags: `[1, 4]`, `1, 4`, `[Doc (2), Doc (7)]`, `[1] [4]`, `none`, or nothing."""
    body = _LIST_LABEL.sub("", plain_ids(content).strip(), count=1).strip()
    if body.startswith("[") and body.endswith("]") and not re.fullmatch(r"(?:[^\[\]]*\[[^\[\]]*\]){2,}", body):
        body = body[1:-1].strip()
    if _NO_IDS.match(body):
        return []
    ids, position = [], 0
    while match := _ID.match(body, position):
        ids.append(_number(match))
        position = match.end()
        if position == len(body):
            return ids
        between = _BETWEEN_IDS.match(body, position)
        if between is None:
            break
        position = between.end()
    raise Unreadable(f"the verdict holds {_short(content.strip())}, which is no list of ids")


def _number(match: re.Match[str]) -> int:
    digits = match[1] or match[2] or match[3]
    return int(digits) if len(digits) <= 9 else -1  # no list is that long: out of range, whatever it is


def _checked(number: int, count: int) -> int:
    if not 1 <= number <= count:
        raise Unreadable(f"the verdict lists an id that was never shown (shown: 1 to {count})")
    return number


def _short(value: Any) -> str:
    """A value as it may stand in a one-line message."""
    shown = "a nested list or object" if isinstance(value, list | dict) else ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def judgements_of(
    parsed: ParsedReply,
    positions: Sequence[int],
    prompt_tokens: int | None = None,
    completion_tokens: int | None = None,
    *,
    cut: frozenset[int] = frozenset(),
) -> dict[int, Judgement]:
    """One judgement for each of `positions`, of which the candidate with id i is `positions[i - 1]`.

    Args:
        cut: see `Ask.cut`.
    """
    share = 1 / len(positions) if positions else 0.0
    usage = (
        None if prompt_tokens is None else prompt_tokens * share,
        None if completion_tokens is None else completion_tokens * share,
    )
    labels = dict.fromkeys(parsed.better, Label.BETTER) | dict.fromkeys(parsed.worse, Label.WORSE)
    rationales = rationales_of(parsed.thinking)
    conflicting = frozenset(parsed.conflicting)
    judgements = {}
    for number, position in enumerate(positions, 1):
        label, rationale = labels.get(number, Label.IRRELEVANT), rationales.get(number, "")
        if parsed.problem is not None:
            label, rationale = Label.UNPARSABLE, parsed.problem
        elif number in conflicting:
            label, rationale = Label.UNPARSABLE, "the verdict has this candidate in both lists"
        judgements[position] = Judgement(label, None, rationale, *usage, place=number, cut=position in cut)
    return judgements


def rationales_of(thinking: str) -> dict[int, str]:
    """For each id the lines of the reasoning that begin with it, joined, at most 500 characters."""
    rationales: dict[int, str] = {}
    for match in _RATIONALE.finditer(thinking):
        number, line = int(match[1] or match[2] or match[3]), match[4].rstrip()
        known = rationales.get(number)
        if known is None or len(known) < MAX_RATIONALE_CHARS:
            rationales[number] = (f"{known} {line}" if known else line)[:MAX_RATIONALE_CHARS]
    return rationales

"""Every kind of reply has a defined outcome, and no verdict is ever invented."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.reply_parsing import ParsedReply, judgements_of, parse_reply, rationales_of
from tests.examples import drawn

THINKING = "<thinking>\n[1] yes\n[2] no\n</thinking>\n"


def parse(text: str, finish: str = "stop", count: int = 5, *, constrained: bool = False) -> ParsedReply:
    return parse_reply(text, finish, count, constrained)  # type: ignore[arg-type]


def verdict(better: str, worse: str = "[]") -> str:
    return f"<better>{better}</better>\n<worse>{worse}</worse>"


def lists(text: str, **options: object) -> tuple[list[int], list[int]] | None:
    """The two lists, None where the reply as a whole cannot be read."""
    parsed = parse(text, **options)  # type: ignore[arg-type]
    return None if parsed.problem else (list(parsed.better), list(parsed.worse))


READABLE = {
    "tags": (THINKING + verdict("[1, 4]", "[2]"), [1, 4], [2]),
    "empty lists": (THINKING + verdict("[]", "[]"), [], []),
    "nothing between the tags": (verdict("", " "), [], []),
    "none": (verdict("none", "[None]"), [], []),
    "bare numbers": (verdict("3, 4", "5"), [3, 4], [5]),
    "numbers in words": (verdict("Doc (3) and Doc 4", "[candidate 5]"), [3, 4], [5]),
    "numbers in brackets": (verdict("[3], [4]", "[1] [2]"), [3, 4], [1, 2]),
    "RLHN's labels": (verdict("Preferred over or equally as ground truth: [Doc (2), Doc (5)]"), [2, 5], []),
    "RLHN's comma": ("<verdict> \n<better> [Doc (1)] </better>, \n<worse> [] </worse>\n</verdict>", [1], []),
    "upper case tags": ("<BETTER>[1]</BETTER><WORSE>[]</WORSE>", [1], []),
    "repeated ids": (verdict("[2, 2, 2]"), [2], []),
    "prose around": (f"Here it is.\n{verdict('[2]')}\nI hope this helps, 1 < 2!", [2], []),
    "reasoning model": (f"<think>maybe {verdict('[1]')}?</think>{verdict('[2]')}", [2], []),
    "reasoning model, opening tag eaten": (f"maybe {verdict('[1]')}?</think>{verdict('[2]')}", [2], []),
    "quoted inside the thinking": (f"<thinking>It says {verdict('[1]')}</thinking>{verdict('[]')}", [], []),
    "last verdict counts": (f"{verdict('[1]')} No, rather {verdict('[2]')}", [2], []),
    "JSON": ('{"thinking": "so", "better": [1], "worse": [2]}', [1], [2]),
    "JSON in a fence": ('```json\n{"better": [1], "worse": []}\n```', [1], []),
    "JSON in a fence in prose": ('Sure {really}:\n```\n{"better": [1], "worse": []}\n```\nDone.', [1], []),
    "JSON after thinking": ('<think>{"better": [5]</think>{"better": [1], "worse": []}', [1], []),
    "JSON that quotes tags": (
        f'Well: {{"thinking": {json.dumps(verdict("[3]"))}, "better": [1], "worse": []}}',
        [1],
        [],
    ),
    "JSON that quotes JSON": (json.dumps({"thinking": '{"better": [3]}', "better": [1], "worse": []}), [1], []),
    "JSON with raw line ends": ('{"thinking": "a\nb", "better": [1], "worse": []}', [1], []),
    "JSON with ids as strings": ('{"better": ["1", "Doc (2)"], "worse": ["[3]"]}', [1, 2], [3]),
    "last JSON counts": ('{"better": [1], "worse": []} or {"better": [2], "worse": []}', [2], []),
}


@pytest.mark.parametrize(("text", "better", "worse"), READABLE.values(), ids=READABLE.keys())
def test_readable(text: str, better: list[int], worse: list[int]) -> None:
    assert lists(text) == (better, worse)


UNREADABLE = {
    "empty": "",
    "prose": "I think document 3 is relevant.",
    "id 0": verdict("[0]"),
    "id out of range": verdict("[1, 6]"),
    "huge id": verdict("[" + "9" * 5000 + "]"),
    "negative id": verdict("[-1]"),
    "range of ids": verdict("1-3"),
    "decimal": verdict("[1.0]"),
    "digits of another script": verdict("[٣]"),
    "superscript digit": verdict("[²]"),
    "words in a list": verdict("[1, two]"),
    "worse is missing": "<better>[1]</better>",
    "better is not closed": "<better>[1] <worse>[]</worse>",
    "worse is not closed": "<better>[1]</better> <worse>[",
    "thinking does not end": f"<thinking> perhaps {verdict('[1]')}",
    "verdict before the end of thinking": f"{verdict('[1]')}</thinking>",
    "another verdict begins": f"{verdict('[1]')} no: <better>[2",
    "another tag begins": f"{verdict('[1]')} no: <bet",
    "JSON id 0": '{"better": [0], "worse": []}',
    "JSON id out of range": '{"better": [], "worse": [6]}',
    "JSON huge id": '{"better": [' + "9" * 5000 + '], "worse": []}',
    "JSON true": '{"better": [true], "worse": []}',
    "JSON float": '{"better": [1.0], "worse": []}',
    "JSON null": '{"better": [null], "worse": []}',
    "JSON nested list": '{"better": [[1, 2]], "worse": []}',
    "JSON deep nesting": '{"better": ' + "[" * 100_000,
    "JSON string for a list": '{"better": "1", "worse": []}',
    "JSON digits of another script": '{"better": ["٣"], "worse": []}',
    "JSON without worse": '{"better": [1]}',
    "JSON key twice": '{"better": [1], "better": [2], "worse": []}',
    "JSON list": "[1, 2]",
    "JSON cut off": '{"thinking": "so", "better": [1, 2',
    "JSON cut off in a quotation": '{"thinking": "it says {"better": [1], "worse": []} but',
    "broken JSON around a quotation": '{thinking: {"better": [1], "worse": []}, better: [2]',
    "JSON, then another begins": '{"better": [1], "worse": []} no: {"better": [2',
    "JSON inside tags": '<better>{"better": [1], "worse": []}</better><worse>[]</worse>',
    "JSON without its opening brace": f'"thinking": "{verdict("[1]")}", "better": [2], "worse": []}}',
    "tags inside another object": f'{{"note": {json.dumps(verdict("[1]"))}}}',
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
@pytest.mark.parametrize("constrained", [True, False])
def test_unreadable_as_a_whole(text: str, constrained: bool) -> None:
    parsed = parse(text, constrained=constrained)
    assert parsed.problem
    assert "\n" not in parsed.problem
    assert parsed.better == parsed.worse == ()


def test_a_reply_at_its_token_limit_is_cut_off() -> None:
    assert "token limit" in (parse(THINKING + verdict("[1]"), "length").problem or "")
    assert "token limit" in (parse('{"better": [1], "worse"', "length", constrained=True).problem or "")


def test_a_whole_object_is_a_verdict_though_the_server_ran_on_into_white_space() -> None:
    assert lists('{"better": [1], "worse": []}' + "\n \n" * 99, finish="length", constrained=True) == ([1], [])


def test_an_id_in_both_lists_says_nothing_of_that_candidate_alone() -> None:
    parsed = parse(verdict("[1, 2]", "[2, 3]"))
    assert (parsed.better, parsed.worse, parsed.conflicting) == ((1,), (3,), (2,))
    judgements = judgements_of(parsed, [10, 11, 12, 13])
    assert [judgements[position].label for position in (10, 11, 12, 13)] == [
        Label.BETTER,
        Label.UNPARSABLE,
        Label.WORSE,
        Label.IRRELEVANT,
    ]


def test_an_unreadable_reply_says_nothing_of_any_candidate() -> None:
    judgements = judgements_of(parse("no idea"), [4, 7], prompt_tokens=100, completion_tokens=3)
    assert {judgement.label for judgement in judgements.values()} == {Label.UNPARSABLE}
    assert judgements[4].rationale == "the reply holds no verdict"
    assert (judgements[7].prompt_tokens, judgements[7].completion_tokens) == (50, 1.5)


def test_rationales_are_the_lines_that_begin_with_an_id() -> None:
    thinking = (
        "[1] names the year\n- **Doc (2)**: off topic\n3. a copy\n12 apostles\n(4) – no\n[5] 1.5 litres\nDoc (2): still"
    )
    assert rationales_of(thinking) == {
        1: "names the year",
        2: "off topic still",
        3: "a copy",
        4: "no",
        5: "1.5 litres",
    }
    assert len(rationales_of("[1] " + "x" * 9000)[1]) == 500


# Fuzzing. What a reply means is known, because it is written from a known verdict; then it is damaged.

ids = st.sets(st.integers(1, 20), max_size=6)
prose = st.sampled_from(
    [
        "",
        "[3] is fine.\n",
        "I would say <better>[7]</better> <worse>[8]</worse> here.\n",
        'As in {"better": [9], "worse": []}.\n',
        "1 < 2, {x}\n",
    ]
)


@st.composite
def intact_replies(draw: st.DrawFn) -> tuple[str, set[int], bool]:
    """A well-formed reply, its `better` ids, and whether it is JSON."""
    better = draw(ids)
    worse = draw(ids) - better
    thinking = draw(prose) + draw(prose)
    if draw(st.booleans()):
        values = {"thinking": thinking, "better": sorted(better), "worse": sorted(worse)}
        return json.dumps(values), better, True
    tag = draw(st.sampled_from(["thinking", "think"]))
    return f"<{tag}>\n{thinking}</{tag}>\n{verdict(str(sorted(better)), str(sorted(worse)))}", better, False


@drawn(60)
@given(intact_replies())
def test_an_intact_reply_means_what_was_written(reply: tuple[str, set[int], bool]) -> None:
    text, better, constrained = reply
    parsed = parse(text, count=20, constrained=constrained)
    assert parsed.problem is None
    assert set(parsed.better) == better


@drawn(60)
@given(intact_replies(), st.floats(0, 1, exclude_max=True), st.sampled_from(["stop", "length", "other"]), st.booleans())
def test_a_truncated_reply_invents_nothing(
    reply: tuple[str, set[int], bool], share: float, finish: str, constrained: bool
) -> None:
    text, _, _ = reply
    parsed = parse(text[: int(len(text) * share)], finish, 20, constrained=constrained)
    assert parsed.problem, "a reply without its end has no verdict"


@drawn(60)
@given(
    intact_replies(),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["", *'{}[]<>"\\,:/ax \n']),
    st.booleans(),
    st.booleans(),
)
def test_a_damaged_reply_invents_nothing(
    reply: tuple[str, set[int], bool], share: float, damage: str, at_verdict: bool, constrained: bool
) -> None:
    text, better, _ = reply
    first = max(text.rfind("<better>"), text.rfind('"better"')) if at_verdict else 0
    place = first + int((len(text) - first) * share)
    if text[place].isdigit():
        return  # a lost digit makes one id another: no reader can know
    damaged = text[:place] + damage + text[place + 1 :]
    assert set(parse(damaged, count=20, constrained=constrained).better) <= better


fragments = st.sampled_from(
    [
        *'{}[]",:<>/ \n0123',
        *["better", "worse", '"better":', '"worse":', "<better>", "</better>", "<worse>", "</worse>"],
        *["<think>", "</think>", "```json\n", "```", "Doc (", "\ud800", "true", "NaN"],
    ]
)


@drawn(60)
@given(
    st.one_of(st.text(max_size=200), st.lists(fragments).map("".join)),
    st.sampled_from(["stop", "length", "other"]),
    st.integers(0, 30),
    st.booleans(),
)
def test_any_text_has_an_outcome(text: str, finish: str, count: int, constrained: bool) -> None:
    parsed = parse(text, finish, count, constrained=constrained)
    positions = [number * 3 for number in range(count)]
    judgements = judgements_of(parsed, positions, 10, 10)
    assert list(judgements) == positions
    assert all(1 <= number <= count for number in (*parsed.better, *parsed.worse, *parsed.conflicting))

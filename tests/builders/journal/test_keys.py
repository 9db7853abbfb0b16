"""Keys hold what a judge is shown, all of it and nothing else; those of version 0.1 are still found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.journal.keys import KEY_BYTES, JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
from hf_relabel.builders.judges.prompted.ranking import RankingJudge
from hf_relabel.builders.judges.prompted.spans import SpanJudge
from hf_relabel.builders.rows import Passage, Row

JUDGE = JudgeIdentity("listwise", "some/model", "abc", {"temperature": 0.1})


def row_of(negative: str = "a", *positives: str, query: str = "what is a comet", subset: str = "nq") -> Row:
    known = tuple(Passage(f"p{number}", "", text) for number, text in enumerate(positives or ["A comet is ice."]))
    return Row("q1", query, known, (Passage("n0", "", negative),), subset)


def identity_of(judge: Any) -> JudgeIdentity:
    return JudgeIdentity(judge.kind, "some/model", "abc", judge.settings())


def key_of(row: Row, judge: JudgeIdentity = JUDGE) -> bytes:
    (key,) = judge.keys()(row, [0])
    return key


@pytest.mark.parametrize(
    "other",
    [
        replace(JUDGE, kind="pointwise"),
        replace(JUDGE, model="other/model"),
        replace(JUDGE, revision="def"),
        replace(JUDGE, settings={"temperature": 0.2}),
    ],
)
def test_another_judge_has_other_keys(other: JudgeIdentity) -> None:
    assert key_of(row_of()) != key_of(row_of(), other)


def test_the_order_of_settings_is_none_of_the_judges() -> None:
    one, other = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert key_of(row_of(), replace(JUDGE, settings=one)) == key_of(row_of(), replace(JUDGE, settings=other))


def test_keys_of_a_row_lie_side_by_side() -> None:
    row = replace(row_of(), negative_passages=(Passage("n0", "", "a"), Passage("n1", "", "b")))
    first, second = JUDGE.keys()(row, [0, 1])
    assert len(first) == len(second) == KEY_BYTES
    half = KEY_BYTES // 2
    assert first[:half] == second[:half]
    assert first[half:] != second[half:]


def test_another_query_positive_or_candidate_has_other_keys() -> None:
    rows = [row_of(), row_of("b"), row_of(query="else"), row_of("a", "else"), row_of("a", "A comet is ice.", "else")]
    assert len({key_of(row) for row in rows}) == 5


@given(st.text(), st.text(), st.text(), st.text())
def test_keys_tell_title_from_text(title: str, text: str, other_title: str, other_text: str) -> None:
    row = Row("q", "query", (), (Passage("a", title, text), Passage("b", other_title, other_text)))
    first, second = JUDGE.keys()(row, [0, 1])
    assert (first == second) == ((title, text) == (other_title, other_text))


@pytest.mark.parametrize("make", [ListwiseJudge, PointwiseJudge, RankingJudge, SpanJudge])
def test_a_key_holds_the_wording_that_a_subset_gets_and_not_its_name(make: type[Any]) -> None:
    judge = identity_of(make(wordings={"SciDocsRR": "related"}))
    one, renamed, related = (key_of(row_of(subset=subset), judge) for subset in ("nq", "moved", "scidocs-rr"))
    assert one == renamed != related
    # A wording for another subset changes nothing here, and the same wording by another name is the same.
    assert one == key_of(row_of(), identity_of(make(wordings={"fiqa": "related"})))
    assert related == key_of(row_of(), identity_of(make(wording="related", wordings={})))


@pytest.mark.parametrize("make", [ListwiseJudge, RankingJudge, SpanJudge])
def test_longer_replies_are_no_reason_to_ask_again(make: type[Any]) -> None:
    short, long = identity_of(make(max_tokens=256)), identity_of(make(max_tokens=512))
    assert key_of(row_of(), short) == key_of(row_of(), long)
    assert short.says_the_same_as(long)
    assert not short.says_the_same_as(identity_of(make(max_tokens=256, wording="related")))


def test_only_a_reply_that_was_cut_off_hangs_on_how_long_it_could_be(tmp_path: Path) -> None:
    short, long = (identity_of(ListwiseJudge(max_tokens=number)) for number in (256, 512))
    cut_off, answered = row_of("cut off"), row_of("answered")
    with Journal(tmp_path / "journal.sqlite") as journal:
        for row, label in ((cut_off, Label.UNPARSABLE), (answered, Label.BETTER)):
            journal.record(short, row, {0: key_of(row, short)}, {0: Judgement(label)})
        asked = [(cut_off, [0]), (answered, [0])]
        assert [set(said) for _, said in journal.known(short, asked)] == [{0}, {0}]
        assert [set(said) for _, said in journal.known(long, asked)] == [set(), {0}]
        journal.record(long, cut_off, {0: key_of(cut_off, long)}, {0: Judgement(Label.UNPARSABLE)})
        for judge in (short, long):  # what has no end in 512 tokens has none in 256
            assert [set(said) for _, said in journal.known(judge, asked)] == [{0}, {0}]


def test_ground_truths_that_no_prompt_shows_are_in_no_key() -> None:
    long = "x" * 400
    capped, roomy = (identity_of(ListwiseJudge(max_positives=most)) for most in (2, 20))
    assert key_of(row_of("a", "one", "two", long), capped) == key_of(row_of("a", "one", "two"), capped)
    assert key_of(row_of("a", "one", "two", long), roomy) != key_of(row_of("a", "one", "two"), roomy)
    # The bounds themselves are in none: who stays within both is asked the same.
    assert key_of(row_of("a", "one", "two"), capped) == key_of(row_of("a", "one", "two"), roomy)


@pytest.mark.parametrize("judge", [SpanJudge(), CrossEncoderJudge("some/model")])
def test_who_is_shown_no_ground_truth_has_none_in_its_keys(judge: Any) -> None:
    assert key_of(row_of("a", "one"), identity_of(judge)) == key_of(row_of("a", "other"), identity_of(judge))


def test_a_judge_of_the_whole_row_has_the_other_candidates_in_its_keys() -> None:
    whole = replace(JUDGE, settings={"answers_by": "row"})
    row = row_of()
    more = replace(row, negative_passages=(*row.negative_passages, Passage("n1", "", "another")))
    assert key_of(row, whole) != key_of(more, whole)
    assert key_of(row) == key_of(more)


def test_a_judge_of_ids_has_them_in_its_keys() -> None:
    by_ids = replace(JUDGE, settings={"answers_by": "ids"})
    row = row_of()
    other_candidate = replace(row, negative_passages=(replace(row.negative_passages[0], docid="else"),))
    for other in (replace(row, query_id="else"), other_candidate):
        assert key_of(row, by_ids) != key_of(other, by_ids)
        assert key_of(row) == key_of(other)

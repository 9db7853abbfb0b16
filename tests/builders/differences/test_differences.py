"""What changed between two releases, against a plain recomputation over all the data."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_relabel.builders.differences import reading as module
from hf_relabel.builders.differences.compare import differences
from hf_relabel.builders.differences.counts import Difference, DifferenceCounts, LabelChange, RowCounts, Side
from hf_relabel.builders.errors import BuildError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique, apply
from tests.examples import drawn

Judged = tuple[Row, list[Verdict]]

STAGES = (("cheap", "listwise small"), ("accurate", "listwise large"))
OUTCOMES = {
    Outcome.FALSE_NEGATIVE: (Label.BETTER, Label.BETTER),
    Outcome.DOUBTFUL: (Label.WORSE, Label.IRRELEVANT),
    Outcome.NEGATIVE: (Label.IRRELEVANT, None),
    Outcome.UNJUDGED: (Label.FAILED, None),
    Outcome.DUPLICATE: (None, None),
    Outcome.EMPTY: (None, None),
}


def verdict(position: int, docid: str, outcome: Outcome, *labels: Label | None, reason: str = "judged") -> Verdict:
    told = labels or OUTCOMES[outcome]
    return Verdict(position, docid, outcome, reason, tuple(label and Judgement(label) for label in told))


def judged(query_id: str, *outcomes: Outcome, query: str = "query", subset: str = "nq", text: str = "") -> Judged:
    """A row with a negative for each outcome."""
    negatives = tuple(Passage(f"n{place}", "", f"{text}negative {place}") for place in range(len(outcomes)))
    row = Row(query_id, query, (Passage("p", "", "positive"),), negatives, subset)
    return row, [verdict(place, f"n{place}", outcome) for place, outcome in enumerate(outcomes)]


def side(rows: Sequence[Judged], **settings: object) -> Side:
    given_settings: dict[str, object] = {"stages": STAGES, **settings}
    numbered = [(NumberedRow(number, row), verdicts) for number, (row, verdicts) in enumerate(rows)]
    return Side(iter(numbered), **given_settings)  # type: ignore[arg-type]


def compared(before: Side, after: Side) -> tuple[list[Difference], DifferenceCounts]:
    counts = DifferenceCounts()
    return list(differences(before, after, counts)), counts


FALSE, NEGATIVE, DOUBTFUL = Outcome.FALSE_NEGATIVE, Outcome.NEGATIVE, Outcome.DOUBTFUL
ROWS = [judged("q1", NEGATIVE, FALSE), judged("q2", DOUBTFUL), judged("q3"), judged("q4", FALSE, subset="fever")]


def test_equal_releases_do_not_differ_whatever_the_order_of_their_rows() -> None:
    for again in (ROWS, ROWS[::-1], [ROWS[2], *ROWS[:2], ROWS[3]]):
        changes, counts = compared(side(ROWS), side(again))

        assert changes == []
        assert not counts.differ
        assert counts.total_rows == RowCounts(before=4, after=4)
        assert counts.total_candidates.before == counts.total_candidates.after == 4
        assert counts.total_candidates.false_negatives_before == 2


def test_rows_that_share_their_ids_may_change_places_too() -> None:
    twins = [judged("q", NEGATIVE, text="one "), judged("q", FALSE, text="two "), judged("q", FALSE, text="one ")]

    assert compared(side(twins), side(twins[::-1]))[0] == []

    changes, _ = compared(side(twins), side(twins[1:]))
    assert [(change.kind, change.row_before) for change in changes] == [("row_dropped", 0)]


def test_a_row_says_which_of_its_fields_changed() -> None:
    row, verdicts = judged("q", NEGATIVE, NEGATIVE)
    first, second = row.negative_passages
    edits: dict[tuple[str, ...], Row] = {
        ("query",): replace(row, query="another"),
        ("positive_passages",): replace(row, positive_passages=(Passage("p", "a title", "positive"),)),
        ("negative_passages",): replace(row, negative_passages=(first, replace(second, text="another"))),
        ("query", "positive_passages"): replace(row, query="another", positive_passages=()),
    }
    for fields, edited in edits.items():
        changes, counts = compared(side([(row, verdicts)]), side([(edited, verdicts)]))

        assert changes == [Difference("row_changed", "nq", "q", 0, 0, fields)]
        assert counts.total_rows.changed == 1
        assert dict(counts.fields) == dict.fromkeys(fields, 1)


def test_the_order_of_passages_counts_but_their_verdicts_move_along() -> None:
    row, verdicts = judged("q", NEGATIVE, FALSE)
    turned = replace(row, negative_passages=row.negative_passages[::-1])
    moved = [replace(verdicts[1], position=0), replace(verdicts[0], position=1)]

    changes, counts = compared(side([(row, verdicts)]), side([(turned, moved)]))

    assert [change.fields for change in changes] == [("negative_passages",)]
    assert counts.total_candidates.verdict_changed == 0


def test_a_changed_verdict_names_the_judges_whose_labels_differ() -> None:
    row, _ = judged("q", NEGATIVE)
    before = side([(row, [verdict(0, "n0", NEGATIVE, Label.IRRELEVANT, None)])])
    after = side(
        [(row, [verdict(0, "n0", FALSE, Label.IRRELEVANT, Label.BETTER)])],
        stages=(("cheap", "listwise small"), ("accurate", "listwise huge")),
    )

    changes, counts = compared(before, after)

    by = LabelChange("accurate", "listwise large", "listwise huge", None, "better")
    assert changes == [
        Difference(
            "verdict_changed",
            "nq",
            "q",
            0,
            0,
            docid="n0",
            position_before=0,
            position_after=0,
            outcome_before="negative",
            outcome_after="false_negative",
            reason_before="judged",
            reason_after="judged",
            by=(by,),
        )
    ]
    assert counts.transitions == {("negative", "false_negative"): 1}
    assert (counts.by, counts.rule) == ({by: 1}, 0)


def test_a_stage_that_one_side_does_not_have_counts_as_a_difference() -> None:
    row, _ = judged("q", NEGATIVE)
    one_stage = side([(row, [verdict(0, "n0", FALSE, Label.BETTER)])], stages=STAGES[:1])
    two_stages = side([(row, [verdict(0, "n0", DOUBTFUL, Label.BETTER, Label.WORSE)])])

    changes, _ = compared(one_stage, two_stages)

    assert changes[0].by == (LabelChange("accurate", None, "listwise large", None, "worse"),)


def test_the_rule_made_the_change_where_no_label_did() -> None:
    row, _ = judged("q", NEGATIVE)
    labels = (Label.WORSE, None)
    before, after = (side([(row, [verdict(0, "n0", outcome, *labels)])]) for outcome in (DOUBTFUL, NEGATIVE))

    changes, counts = compared(before, after)

    assert [change.by for change in changes] == [()]
    assert (counts.rule, counts.by) == (1, {})


def test_another_label_with_the_same_verdict_is_counted_but_is_no_change() -> None:
    row, _ = judged("q", NEGATIVE)
    before, after = (
        side([(row, [verdict(0, "n0", DOUBTFUL, label, Label.IRRELEVANT)])]) for label in (Label.BETTER, Label.WORSE)
    )

    changes, counts = compared(before, after)

    assert changes == []
    assert counts.total_candidates.labels_only == 1
    assert counts.differ


def test_another_limit_changes_configs_and_no_verdict() -> None:
    rows = [judged("q", FALSE, FALSE)]
    changes, counts = compared(side(rows), side(rows, limit=1))

    assert changes == []
    assert counts.differ
    assert counts.configs["relabel"] == RowCounts(before=1, after=0, dropped=1)
    assert counts.configs["original"] == RowCounts(before=1, after=1)


def test_a_config_that_one_side_does_not_have_is_added_or_dropped_whole() -> None:
    _, counts = compared(side(ROWS, techniques=[Technique.REMOVE]), side(ROWS, techniques=[Technique.RELABEL]))

    assert counts.configs == {
        "remove": RowCounts(before=2, dropped=2),
        "relabel": RowCounts(after=4, added=4),
    }


def test_what_waits_holds_no_texts_and_is_little_when_the_orders_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    texts: list[str] = []
    meet = module.Waiting.meet_or_wait

    def watch(self: module.Waiting, place: int, sketch: module.Sketch) -> None:
        meet(self, place, sketch)
        waited.append(self._count)
        texts.append(sketch.to_text())

    monkeypatch.setattr(module.Waiting, "meet_or_wait", watch)
    rows = [judged(f"q{number}", NEGATIVE, query=f"secret query {number}", text="secret text ") for number in range(50)]

    compared(side(rows), side(rows))
    assert waited == []

    changes, _ = compared(side(rows), side(rows[1:]))
    assert len(changes) == 1
    assert max(waited) <= 2
    assert not any("secret" in text for text in texts)


def test_a_full_disk_says_where_to_make_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(self: module.Waiting, place: int, sketch: module.Sketch) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module.Waiting, "meet_or_wait", full)

    with pytest.raises(BuildError, match=r"disk is full.*TMPDIR"):
        list(differences(side(ROWS), side([]), DifferenceCounts(), scratch=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_the_rows_of_both_sides() -> None:
    seen: list[int] = []
    list(differences(side(ROWS), side(ROWS[:2]), DifferenceCounts(), progress=seen.append))

    assert seen == [2, 4, 5, 6]


# The property: whatever was edited, the changes and counts are those of a plain recomputation.

words = st.sampled_from(["a", "b"])
passages = st.lists(st.builds(Passage, st.sampled_from(["d1", "d2"]), st.just(""), words), max_size=3).map(tuple)


@st.composite
def judged_rows(draw: st.DrawFn) -> Judged:
    row = draw(st.builds(Row, st.sampled_from(["q1", "q2"]), words, passages, passages, st.sampled_from(["", "s"])))
    outcomes = draw(st.lists(st.sampled_from(list(OUTCOMES)), min_size=3, max_size=3))
    reasons = st.sampled_from(["judged", "near-duplicate"])
    return row, [
        verdict(place, passage.docid, outcome, reason=draw(reasons))
        for place, (passage, outcome) in enumerate(zip(row.negative_passages, outcomes, strict=False))
    ]


@st.composite
def edited(draw: st.DrawFn, rows: list[Judged]) -> list[Judged]:
    """Some of the rows, perhaps twice, in any order, with new rows and edited ones among them."""
    kept = draw(st.lists(st.sampled_from(rows), max_size=8)) if rows else []
    new = draw(st.lists(judged_rows(), max_size=3))
    changed = (
        [
            (
                replace(row, query=draw(words)),
                [replace(said, outcome=draw(st.sampled_from(list(OUTCOMES)))) for said in told],
            )
            for row, told in draw(st.lists(st.sampled_from(rows), max_size=3))
        ]
        if rows
        else []
    )
    return draw(st.permutations([*kept, *new, *changed]))


@st.composite
def two_releases(draw: st.DrawFn) -> tuple[list[Judged], list[Judged]]:
    before = draw(st.lists(judged_rows(), max_size=8))
    after = draw(st.one_of(st.just(before), st.permutations(before), edited(before)))
    return before, list(after)


def summary(told: Sequence[Verdict]) -> list[tuple[object, ...]]:
    return [(said.docid, said.outcome, said.reason, [j and j.label for j in said.stages]) for said in told]


def paired(
    before: Sequence[Judged], after: Sequence[Judged], configs: Callable[[int, int], bool]
) -> list[tuple[int | None, int | None]]:
    """Indices of rows that belong together, by looking at every pair: equal rows, equal texts, equal ids."""
    pairs: dict[int, int] = {}

    def ids(row: Row) -> tuple[str, str]:
        return row.subset, row.query_id

    rounds: list[Callable[[int, int], bool]] = [
        lambda i, j: before[i][0] == after[j][0] and summary(before[i][1]) == summary(after[j][1]) and configs(i, j),
        lambda i, j: before[i][0] == after[j][0],
        lambda i, j: ids(before[i][0]) == ids(after[j][0]),
    ]
    for same in rounds:
        for i in range(len(before)):
            free = (j for j in range(len(after)) if j not in pairs.values() and same(i, j))
            if i not in pairs and (j := next(free, None)) is not None:
                pairs[i] = j
    both = [(i, pairs.get(i)) for i in range(len(before))]
    return [*both, *((None, j) for j in range(len(after)) if j not in pairs.values())]


def by_docid(row: Judged) -> dict[tuple[str, int], Verdict]:
    docids = [said.docid for said in row[1]]
    return {(said.docid, docids[:place].count(said.docid)): said for place, said in enumerate(row[1])}


def recomputed(
    before: Sequence[Judged], after: Sequence[Judged], limits: tuple[int, int]
) -> tuple[list[tuple[object, ...]], dict[str, tuple[int, ...]]]:
    """Changes as (kind, ids, rows, what), and for each config its rows before, after, added, dropped, changed."""
    built = {
        technique: (
            [apply(technique, *row, limit=limits[0]) for row in before],
            [apply(technique, *row, limit=limits[1]) for row in after],
        )
        for technique in Technique
    }
    pairs = paired(before, after, lambda i, j: all(old[i] == new[j] for old, new in built.values()))
    changes: list[tuple[object, ...]] = []
    for i, j in pairs:
        row = before[i][0] if i is not None else after[j][0]  # type: ignore[index]
        ids = (row.subset, row.query_id, i, j)
        if i is None or j is None:
            changes.append(("row_added" if i is None else "row_dropped", *ids))
            continue
        (old, _), (new, _) = before[i], after[j]
        names = ("query", "positive_passages", "negative_passages")
        fields = tuple(name for name in names if getattr(old, name) != getattr(new, name))
        changes += [("row_changed", *ids, fields)] if fields else []
        told_before, told_after = by_docid(before[i]), by_docid(after[j])
        for name, was in told_before.items():
            now = told_after.get(name)
            if now is not None and (was.outcome, was.reason) != (now.outcome, now.reason):
                stages = tuple(
                    (stage, one and str(one.label), two and str(two.label))
                    for (stage, _), one, two in zip(STAGES, was.stages, now.stages, strict=True)
                    if (one and one.label) != (two and two.label)
                )
                changes.append(
                    ("verdict_changed", *ids, name[0], was.outcome, now.outcome, was.reason, now.reason, stages)
                )
    configs = {}
    for technique, (old_rows, new_rows) in built.items():
        sides = [(None if i is None else old_rows[i], None if j is None else new_rows[j]) for i, j in pairs]
        configs[str(technique)] = (
            sum(row is not None for row in old_rows),
            sum(row is not None for row in new_rows),
            sum(was is None and now is not None for was, now in sides),
            sum(was is not None and now is None for was, now in sides),
            sum(was is not None and now is not None and was != now for was, now in sides),
        )
    return changes, configs


def facts(change: Difference) -> tuple[object, ...]:
    ids = (change.kind, change.subset, change.query_id, change.row_before, change.row_after)
    if change.kind == "row_changed":
        return (*ids, change.fields)
    if change.kind == "verdict_changed":
        outcomes = (change.outcome_before, change.outcome_after, change.reason_before, change.reason_after)
        return (*ids, change.docid, *outcomes, tuple((b.stage, b.label_before, b.label_after) for b in change.by))
    return ids


@drawn(60)
@given(two_releases(), st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_the_difference_is_that_of_a_plain_recomputation(
    releases: tuple[list[Judged], list[Judged]], limits: tuple[int, int]
) -> None:
    before, after = releases
    changes, counts = compared(side(before, limit=limits[0]), side(after, limit=limits[1]))
    expected, configs = recomputed(before, after, limits)

    assert [facts(change) for change in changes] == expected
    assert {name: astuple(rows) for name, rows in counts.configs.items()} == configs
    kinds = [change[0] for change in expected]
    rows = counts.total_rows
    assert astuple(rows) == (
        len(before),
        len(after),
        *(kinds.count(kind) for kind in ("row_added", "row_dropped", "row_changed")),
    )
    candidates = counts.total_candidates
    assert candidates.verdict_changed == kinds.count("verdict_changed") == sum(counts.transitions.values())
    assert candidates.before + candidates.added - candidates.dropped == candidates.after
    assert counts.rule == sum(change[0] == "verdict_changed" and not change[-1] for change in expected)


def mirrored(change: Difference) -> Difference:
    """The change as seen from the other side."""
    kinds = {"row_added": "row_dropped", "row_dropped": "row_added"}
    pairs = ("row", "position", "outcome", "reason")
    swapped = {f"{name}_before": getattr(change, f"{name}_after") for name in pairs}
    swapped |= {f"{name}_after": getattr(change, f"{name}_before") for name in pairs}
    by = tuple(LabelChange(b.stage, b.judge_after, b.judge_before, b.label_after, b.label_before) for b in change.by)
    return replace(change, kind=kinds.get(change.kind, change.kind), by=by, **swapped)


@drawn(40)
@given(two_releases(), st.tuples(st.integers(0, 2), st.integers(0, 2)))
def test_the_difference_seen_from_the_other_side_is_its_mirror_image(
    releases: tuple[list[Judged], list[Judged]], limits: tuple[int, int]
) -> None:
    before, after = releases
    changes, counts = compared(side(before, limit=limits[0]), side(after, limit=limits[1]))
    back, counts_back = compared(
        side(after, limit=limits[1], stages=[("accurate", "other"), ("cheap", "listwise small")][::-1]),
        side(before, limit=limits[0]),
    )

    def judges_aside(change: Difference) -> tuple[object, ...]:
        return facts(replace(change, by=tuple(replace(by, judge_before=None, judge_after=None) for by in change.by)))

    assert sorted(map(repr, map(judges_aside, map(mirrored, changes)))) == sorted(map(repr, map(judges_aside, back)))
    assert counts.differ == counts_back.differ
    for name, rows in counts.configs.items():
        assert counts_back.configs[name] == RowCounts(rows.after, rows.before, rows.dropped, rows.added, rows.changed)


@drawn(25)
@given(st.lists(judged_rows(), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_rows_is_no_change(rows: list[Judged], chance: random.Random) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    changes, counts = compared(side(rows), side(shuffled))

    assert (changes, counts.differ) == ([], False)

"""What the report says of the judges, and that its intervals hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

from hf_relabel.builders.audit.answers import Answer, answers_from_truth
from hf_relabel.builders.audit.draw import calibrate
from hf_relabel.builders.audit.figures import Estimate
from hf_relabel.builders.audit.report import audit_report
from hf_relabel.builders.cascade import fitting
from hf_relabel.builders.cascade.fitting import LabelledScore
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label, Outcome
from tests.benchmarks.coverage_audit import Cell, covered
from tests.builders.audit.test_audit import B, I, W, candidate, draw, population


@pytest.mark.parametrize("cell", [Cell(7, 400), Cell(20, 100, answered=0.6, people=2)], ids=str)
def test_intervals_hold_where_subsets_are_many_and_not_everybody_answers(cell: Cell) -> None:
    """Two cells of the grid that `python -m tests.benchmarks.bench_coverage` goes through."""
    for name, found in covered(cell, repetitions=40, size=2000).items():
        assert found["held"] >= 0.92, name


def test_133_right_answers_of_133_in_20_subsets_back_relabelling() -> None:
    labels = [B] * 3 + [W] * 3 + [I] * 14
    candidates = [candidate(n, labels[n % 20], subset=f"s{n // 20 % 20}") for n in range(6000)]
    sample = draw(candidates, 399)
    said = [Answer(item.id, "anna", B if item.outcome is Outcome.FALSE_NEGATIVE else I) for item in sample.items]

    precision = audit_report(sample, said).verdict.precision

    assert sum(answer.value is B for answer in said) == 133
    assert precision.value == 1
    assert precision.low is not None
    assert precision.low >= 0.96
    assert precision.high == 1


def test_a_truth_file_may_name_queries_and_candidates_by_their_texts() -> None:
    candidates, truth = population(400)
    sample = draw(candidates, 200)
    items = tuple(
        item.model_copy(
            update={
                "query": f"query of {item.query_id}",
                "candidate": item.candidate.model_copy(update={"text": f"text of {item.docid}"}),
            }
        )
        for item in sample.items
    )
    sample = replace(sample, items=items)
    by_ids = answers_from_truth(truth, sample)
    texts = {f"query of {query}": frozenset(f"text of {docid}" for docid in named) for query, named in truth.items()}
    assert answers_from_truth(texts, sample) == by_ids
    assert {answer.value for answer in by_ids} == {B, I}


def test_an_answer_stands_for_the_candidates_of_its_stratum_that_nobody_answered_for() -> None:
    """Of the negatives that are found relevant fewer are answered for: who answers what must not matter."""
    candidates, truth = population(2000)
    sample = draw(candidates, 900)
    everything = answers_from_truth(truth, sample)
    outcomes = {item.id: item.outcome for item in sample.items}
    part = [a for n, a in enumerate(everything) if n % 4 == 0 or outcomes[a.id] is not Outcome.NEGATIVE]

    whole, found = audit_report(sample, everything), audit_report(sample, part)

    assert sum(found.weights.values()) == pytest.approx(len(candidates))
    assert found.verdict.recall.value == pytest.approx(whole.verdict.recall.value, abs=0.1)
    by_outcome = {o: sum(w for i, w in found.weights.items() if outcomes[i] is o) for o in set(outcomes.values())}
    assert by_outcome == {o: pytest.approx(sum(c.outcome is o for c in candidates)) for o in by_outcome}


def test_an_interval_holds_whichever_way_a_tie_would_be_decided() -> None:
    candidates, truth = population(1500)
    sample = draw(candidates, 300)
    anna = {answer.id: answer.value for answer in answers_from_truth(truth, sample)}
    tied = [item.id for item in sample.items if item.outcome is Outcome.FALSE_NEGATIVE][::5]

    def precision(*people: Mapping[str, Label | None]) -> Estimate:
        said = [Answer(item, f"p{n}", value) for n, each in enumerate(people) for item, value in each.items()]
        return audit_report(sample, said).verdict.precision

    between = precision(anna, {item: I if anna[item] is B else B for item in tied})

    assert between.low == pytest.approx(precision(anna | dict.fromkeys(tied, I)).low, abs=0.01)
    assert between.high == pytest.approx(precision(anna | dict.fromkeys(tied, B)).high, abs=0.01)


def test_thresholds_are_fitted_on_what_answers_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates, truth = population(1000)
    sample = draw(candidates, 300)
    report = audit_report(sample, answers_from_truth(truth, sample)[::2])
    given: list[LabelledScore] = []
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda labelled, **how: given.extend(labelled) or fit(labelled, **how))

    calibrate(sample, report)

    assert len(given) == 150
    assert sum(each.weight for each in given) == pytest.approx(len(candidates))


@pytest.mark.parametrize(
    ("reuse", "given", "wanted", "least"),
    [
        (None, {}, 0.8, 0.9),
        (27.3, {}, 0.8, 0.9),
        (5.0, {}, 0.8, 0.9),
        (1.6, {}, 1 / 3, 0.5),
        (1.6, {"precision": 0.9}, 0.9, 0.5),
        (1.6, {"probability": 0.7}, 1 / 3, 0.7),
        (1.6, {"precision": 0.7, "probability": 0}, 0.7, None),
    ],
)
def test_thresholds_are_lower_where_passages_seldom_return_unless_given(
    reuse: float | None, given: dict[str, Any], wanted: float, least: float | None
) -> None:
    candidates, truth = population(1000)
    sample = replace(draw(candidates, 300), reuse=reuse)

    zones = calibrate(sample, audit_report(sample, answers_from_truth(truth, sample)), **given).zones

    assert (zones.wanted, zones.least) == (pytest.approx(wanted), least)


def test_a_census_is_exact() -> None:
    candidates, truth = population(400)
    sample = draw(candidates, 10_000)

    verdict = audit_report(sample, answers_from_truth(truth, sample)).verdict

    positives = [c for c in candidates if c.outcome is Outcome.FALSE_NEGATIVE]
    hits = sum(bool(truth[c.row.query_id]) for c in positives)
    assert verdict.precision.low is not None
    assert verdict.precision.high is not None
    assert verdict.precision.low <= hits / len(positives) <= verdict.precision.high
    assert verdict.precision.high - verdict.precision.low < 1.1e-4  # the ends are rounded outwards
    labels = [(c.outcome is Outcome.FALSE_NEGATIVE, bool(truth[c.row.query_id])) for c in candidates]
    assert verdict.kappa.value == pytest.approx(cohen_kappa_score(*zip(*labels, strict=True)), abs=1e-4)


def test_judges_subsets_and_stages_have_figures_of_their_own() -> None:
    candidates, truth = population(3000)
    sample = draw(candidates, 600)

    found = audit_report(sample, answers_from_truth(truth, sample))

    assert [judge.name for judge in found.judges] == ["cheap", "accurate"]
    cheap, accurate = found.judges
    assert cheap.precision.value is None  # it calls nothing better
    assert accurate.candidates < cheap.candidates == len(candidates)
    assert [subset.name for subset in found.subsets] == ["a", "b"]
    (by_cheap,) = [each for each in found.settled if each.name == "cheap"]
    missed = sum(bool(truth[c.row.query_id]) for c in candidates if c.settled_by == "cheap")
    assert by_cheap.missed.low is not None
    assert by_cheap.missed.high is not None
    assert by_cheap.missed.low <= missed <= by_cheap.missed.high
    total = sum(sum(row.values()) for row in accurate.confusion.values())
    assert total == pytest.approx(accurate.candidates, abs=0.1)
    json.dumps(found.to_dict(), allow_nan=False)
    shown = found.to_text()
    assert "missed" in shown  # the table of what each stage had the last word on
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("graded:", "called better:", "kappa:"):
        assert word in shown


def test_both_kappas_count_ties_by_one_rule() -> None:
    """Where people and judges say better or worse only, quadratic weights change nothing."""
    candidates, truth = population(900)
    sample = draw([each for each in candidates if each.outcome is not Outcome.NEGATIVE], 200)
    anna = {answer.id: B if answer.value is B else W for answer in answers_from_truth(truth, sample)}
    found_better = [item.id for item in sample.items if item.outcome is Outcome.FALSE_NEGATIVE]
    ben = anna | {item: W if anna[item] is B else B for item in found_better[::3]}
    said = [Answer(item, name, value) for name, each in (("anna", anna), ("ben", ben)) for item, value in each.items()]

    verdict = audit_report(sample, said).verdict

    assert verdict.kappa.value == pytest.approx(verdict.kappa_graded)
    assert verdict.kappa.value != pytest.approx(audit_report(sample, said[: len(anna)]).verdict.kappa.value)


def test_subsets_with_few_answers_are_named_with_their_number() -> None:
    candidates = [candidate(n, (B, I)[n % 2], subset="large" if n < 60 else f"small{n % 3}") for n in range(70)]
    sample = draw(candidates, 70)

    found = audit_report(sample, [Answer(item.id, "anna", B) for item in sample.items])

    assert [each.name for each in found.subsets] == ["large"]
    assert found.to_dict()["few_answers"] == {"small0": 4, "small1": 3, "small2": 3}
    text = " ".join(found.to_text().split())
    assert "3 subsets without figures, with fewer than 20 answers (in brackets): small0 (4), small1 (3)" in text


def test_without_an_answer_there_is_nothing_to_report() -> None:
    sample = draw([candidate(n, B) for n in range(3)], 3)
    with pytest.raises(ConfigError, match="no answer yet"):
        audit_report(sample, [Answer(sample.items[0].id, "anna", None)])

"""How far the people of an audit agree, and what they say together."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.judgements import Label

GRADES = (Label.IRRELEVANT, Label.WORSE, Label.BETTER)
"""From least to most relevant."""

MOST_DISAGREEMENTS = 1_000


def by_item(answers: Sequence[Answer]) -> dict[str, dict[str, Label]]:
    """The answers by item and person, without those who cannot tell."""
    found: dict[str, dict[str, Label]] = defaultdict(dict)
    for answer in answers:
        if answer.value is not None:
            found[answer.id][answer.person] = answer.value
    return dict(found)


def consensus(answers: Sequence[Answer]) -> tuple[dict[str, Label], list[str]]:
    """What people say together: the majority; ties by Dawid and Skene's estimate of who errs how (crowd-kit).

    Returns:
        The label by item, and the items without one (a tie, and crowd-kit is not installed or undecided).
    """
    labels: dict[str, Label] = {}
    ties: list[str] = []
    for item, said in by_item(answers).items():
        ranked = Counter(said.values()).most_common(2)
        if len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
            ties.append(item)
        else:
            labels[item] = ranked[0][0]
    if ties:
        settled = _dawid_skene(answers)
        labels |= {item: settled[item] for item in ties if item in settled}
    return labels, [item for item in ties if item not in labels]


def _dawid_skene(answers: Sequence[Answer]) -> dict[str, Label]:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    from crowdkit.aggregation import DawidSkene

    said = [(each.id, each.person, str(each.value)) for each in answers if each.value is not None]
    frame = pd.DataFrame(said, columns=["task", "worker", "label"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about how crowd-kit uses it
        found = DawidSkene(n_iter=100).fit_predict(frame)
    return {str(item): Label(str(label)) for item, label in found.items()}


def agreement(answers: Sequence[Answer]) -> dict[str, Any]:
    """How far people agree, as plain values; kappas are None where they are not defined.

    Graded: Cohen's kappa with quadratic weights on irrelevant < worse < better, and Fleiss' of the three labels.
    Binary: of better against the rest. Fleiss' kappa is of the items that all people answered.

    Raises:
        ConfigError: a library is missing.
    """
    found = by_item(answers)
    people = sorted({answer.person for answer in answers})
    shared = [said for said in found.values() if len(said) == len(people)]
    differing = sorted(item for item, said in found.items() if len(set(said.values())) > 1)
    return {
        "people": people,
        "answers": sum(len(said) for said in found.values()),
        "cannot_tell": sum(answer.value is None for answer in answers),
        "answered_by_all": len(shared),
        "disagreements": len(differing),
        "items": differing[:MOST_DISAGREEMENTS],
        "pairs": [_pair(first, second, found) for first, second in combinations(people, 2)],
        "fleiss": {
            "graded": _fleiss(shared, GRADES.index, 3),
            "binary": _fleiss(shared, lambda label: int(label is Label.BETTER), 2),
        }
        if len(people) > 1
        else None,
    }


def _pair(first: str, second: str, found: Mapping[str, Mapping[str, Label]]) -> dict[str, Any]:
    both = [(said[first], said[second]) for said in found.values() if first in said and second in said]
    return {
        "people": [first, second],
        "both": len(both),
        "same": sum(one is other for one, other in both),
        "graded": kappa([(GRADES.index(one), GRADES.index(other)) for one, other in both], graded=True),
        "binary": kappa([(one is Label.BETTER, other is Label.BETTER) for one, other in both]),
    }


def kappa(
    pairs: Sequence[tuple[int, int]], *, weights: Sequence[float] | None = None, graded: bool = False
) -> float | None:
    """Cohen's kappa, with quadratic weights where graded; None where it is not defined."""
    from sklearn.metrics import cohen_kappa_score

    if not pairs:
        return None
    one, other = zip(*pairs, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined where there is one label only: None says so
        found = float(
            cohen_kappa_score(
                [int(value) for value in one],
                [int(value) for value in other],
                labels=range(len(GRADES)) if graded else [0, 1],
                weights="quadratic" if graded else None,
                sample_weight=weights,
            )
        )
    return None if found != found else found


def _fleiss(shared: Sequence[Mapping[str, Label]], code: Callable[[Label], int], kinds: int) -> float | None:
    from statsmodels.stats.inter_rater import fleiss_kappa

    if not shared:
        return None
    counts = [Counter(map(code, said.values())) for said in shared]
    table = [[count[kind] for kind in range(kinds)] for count in counts]
    if sum(any(row[kind] for row in table) for kind in range(kinds)) < 2:
        return None
    return float(fleiss_kappa(table))

"""How far the people of an audit agree, and what they say together."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from hf_relabel.builders.audit.answers import Answer
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label

GRADES = (Label.IRRELEVANT, Label.WORSE, Label.BETTER)
"""From least to most relevant."""

CONFIDENT = 0.9
"""How probable Dawid and Skene's estimate must find one side of a tie to decide it."""
MOST_DISAGREEMENTS = 1_000


def by_item(answers: Sequence[Answer]) -> dict[str, dict[str, Label]]:
    """The answers by item and person, without those who cannot tell.

    Raises:
        ConfigError: somebody answers an item in two ways.
    """
    said: dict[str, dict[str, Label | None]] = defaultdict(dict)
    for answer in answers:
        if said[answer.id].setdefault(answer.person, answer.value) is not answer.value:
            raise ConfigError(
                f"{ascii(answer.person)[:60]} answers item {answer.id} in two ways. If these are two people, give each"
                " a name of their own; else keep one of the two answers."
            )
    told = {item: {person: value for person, value in each.items() if value is not None} for item, each in said.items()}
    return {item: each for item, each in told.items() if each}


def consensus(answers: Sequence[Answer]) -> tuple[dict[str, Label], list[str]]:
    """What people say together: a vote on whether the candidate is better or not.

    More than half make it better. Where it is not, it is worse if at least half of them find it relevant. Where the
    vote is tied and three people or more took part in the audit, Dawid and Skene's estimate of who errs how decides
    (crowd-kit) if it is clear; of two people who differ, nothing tells who errs.

    Returns:
        The label by item, and the items that are undecided: half call them better, so else they were worse.

    Raises:
        ConfigError: somebody answers an item in two ways.
    """
    found = by_item(answers)
    votes = {item: _better(list(said.values())) for item, said in found.items()}
    people = {person for said in found.values() for person in said}
    if len(people) > 2 and None in votes.values():
        settled = _dawid_skene(found)
        votes |= {item: settled.get(item) for item, vote in votes.items() if vote is None}
    labels = {item: _label(list(found[item].values()), vote) for item, vote in votes.items() if vote is not None}
    return labels, [item for item, vote in votes.items() if vote is None]


def _better(said: Sequence[Label]) -> bool | None:
    """The vote; None where it is tied."""
    better = 2 * said.count(Label.BETTER) - len(said)
    return None if better == 0 else better > 0


def _label(said: Sequence[Label], better: bool) -> Label:
    if better:
        return Label.BETTER
    return Label.IRRELEVANT if 2 * said.count(Label.IRRELEVANT) > len(said) else Label.WORSE


def _dawid_skene(found: Mapping[str, Mapping[str, Label]]) -> dict[str, bool]:
    import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    from crowdkit.aggregation import DawidSkene

    said = [(item, person, label is Label.BETTER) for item, each in found.items() for person, label in each.items()]
    frame = pd.DataFrame(said, columns=["task", "worker", "label"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about how crowd-kit uses it
        shares = DawidSkene(n_iter=100).fit_predict_proba(frame)
    better = dict(zip(map(str, shares.index), shares[True] if True in shares else (0.0,) * len(shares), strict=True))
    return {item: share > 0.5 for item, share in better.items() if max(share, 1 - share) >= CONFIDENT}


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

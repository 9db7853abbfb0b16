"""The groups of sets are those that papers average, shown by the figures they print."""

from __future__ import annotations

import pytest

from hf_relabel.cards.set_groups import FORUMS, GROUPS, complete_groups, counted_as, mean_name, mean_over, weights

# nDCG@10 of E5-base as RLHN (arXiv 2505.16967v2) prints it: Table 3 (`default`), Table 4 (`Default`), Table 12 (`ALL`).
TABLE_3 = {
    "trec-covid": 0.783,
    "nfcorpus": 0.378,
    "nq": 0.595,
    "hotpotqa": 0.737,
    "fiqa": 0.439,
    "arguana": 0.701,
    "webis-touche2020": 0.256,
    "dbpedia-entity": 0.438,
    "scidocs": 0.242,
    "fever": 0.878,
    "climate-fever": 0.391,
    "scifact": 0.735,
    "trec-news": 0.465,
    "robust04": 0.442,
    "signal1m": 0.275,
    "bioasq": 0.378,
}
TABLE_4 = dict(
    zip((f"AIR-Bench qa {each} en" for each in ["arxiv", "finance", "healthcare", "law", "news"]),
        (0.345, 0.401, 0.521, 0.117, 0.455), strict=True)
)  # fmt: skip
TABLE_12 = dict(
    zip(TABLE_3, (0.731, 0.381, 0.595, 0.726, 0.444, 0.652, 0.181, 0.437, 0.233, 0.871, 0.370, 0.728, 0.434, 0.477),
        strict=False)
)  # fmt: skip


@pytest.mark.parametrize(
    ("group", "values", "printed"),
    [
        ("beir-16", TABLE_3, 0.508),
        ("beir-ood-7", TABLE_3, 0.425),
        ("air-bench-5", TABLE_4, 0.368),
        ("beir-14", TABLE_12, 0.519),
    ],
)
def test_the_mean_of_a_group_is_the_one_that_the_paper_prints(
    group: str, values: dict[str, float], printed: float
) -> None:
    sets = complete_groups(values)[group]
    assert mean_name(sets) == group
    assert round(mean_over({name: values[name] for name in sets}), 3) == printed


def test_a_group_of_which_a_set_is_missing_has_no_mean() -> None:
    without = {name: value for name, value in TABLE_3.items() if name != "bioasq"}
    assert list(complete_groups(without)) == ["beir-14"]
    assert mean_name(list(without)) == "15 sets"


def test_cqadupstack_counts_as_one_set() -> None:
    assert len(GROUPS["beir-15"]) == 26
    assert len(set(map(counted_as, GROUPS["beir-15"]))) == 15
    values = {"nq": 0.5, **{name: 0.1 * number for number, name in enumerate(FORUMS)}}
    assert mean_over(values) == pytest.approx((0.5 + 0.55) / 2)
    assert sum(weights(GROUPS["beir-15"])) == pytest.approx(1)
    assert mean_name(list(values)) == "2 sets (cqadupstack: 12 forums)"
    assert mean_name(["nq", *FORUMS[:2]]) == "2 sets (cqadupstack: 2 of its 12 forums)"
    assert mean_name(FORUMS) == "cqadupstack"

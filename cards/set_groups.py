"""Groups of evaluation sets whose mean papers report, and what counts as one set in a mean.

Sets are known by their names, wherever they were read from. A group has a mean only where all of it was measured.

- `beir-16`, `beir-14`, `beir-ood-7`: RLHN (arXiv 2505.16967v2). Section 4: BEIR without Quora and CQADupStack, "the
  remaining 16"; Table 3 marks the seven that are unseen in training; Table 12, the pruning, has 14, without Signal-1M
  and BioASQ.
- `air-bench-5`: the same paper, section 4 and Table 4: the dev split of version 24.05, English, five domains. The
  authors' `scripts/eval/embedding/e5_base_evaluation.sh` (castorini/rlhn) names the same.
- `beir-15`: the public sets of BEIR as the library mteb (2.26, its benchmark `BEIR`) averages them: MS MARCO's dev
  split, and CQADupStack's twelve forums as one set, their mean.
- `nanobeir`: the thirteen sets of NanoBEIR, as NanoBEIREvaluator of sentence-transformers averages them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

CQADUPSTACK = "cqadupstack"
FORUMS = tuple(
    f"{CQADUPSTACK}-{forum}"
    for forum in (
        "android",
        "english",
        "gaming",
        "gis",
        "mathematica",
        "physics",
        "programmers",
        "stats",
        "tex",
        "unix",
        "webmasters",
        "wordpress",
    )
)

_TRAINED = ("nq", "hotpotqa", "fiqa", "arguana", "dbpedia-entity", "scidocs", "fever", "climate-fever", "scifact")
"""Of the sixteen, those that the paper does not mark as unseen."""
_OOD_14 = ("trec-covid", "nfcorpus", "webis-touche2020", "trec-news", "robust04")
_OOD = (*_OOD_14, "signal1m", "bioasq")
_PRIVATE = ("trec-news", "robust04", "signal1m", "bioasq")
_NANO = (
    "ClimateFEVER",
    "DBPedia",
    "FEVER",
    "FiQA2018",
    "HotpotQA",
    "MSMARCO",
    "NFCorpus",
    "NQ",
    "QuoraRetrieval",
    "SCIDOCS",
    "ArguAna",
    "SciFact",
    "Touche2020",
)

AIR_BENCH_5 = ("arxiv", "finance", "healthcare", "law", "news")
"""Domains of question answering in English."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "beir-16": (*_OOD, *_TRAINED),
    "beir-15": (
        *(name for name in (*_OOD, *_TRAINED) if name not in _PRIVATE),
        *("msmarco", "quora"),
        *FORUMS,
    ),
    "beir-14": (*_OOD_14, *_TRAINED),
    "beir-ood-7": _OOD,
    CQADUPSTACK: FORUMS,
    "air-bench-5": tuple(f"AIR-Bench qa {domain} en" for domain in AIR_BENCH_5),
    "nanobeir": tuple(f"Nano{name}" for name in _NANO),
}
"""By name of a group: the names of its sets, BEIR's as BEIR's own downloads are named."""


def counted_as(name: str) -> str:
    """The set as which this one counts in a mean: CQADupStack for its forums."""
    return CQADUPSTACK if name in FORUMS else name


def weights(names: Sequence[str]) -> list[float]:
    """The weight of each set in the mean over all of them; they add up to 1. The forums of CQADupStack share one.

    Example:
            weights(["nq", "cqadupstack-gis", "cqadupstack-tex"])  # [0.5, 0.25, 0.25]
    """
    counts = Counter(map(counted_as, names))
    return [1 / len(counts) / counts[counted_as(name)] for name in names]


def mean_over(values: Mapping[str, float]) -> float:
    """The mean over sets, by `weights`."""
    return sum(weight * value for weight, value in zip(weights(list(values)), values.values(), strict=True))


def complete_groups(names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The groups that are all there, by name: never one of which a set is missing."""
    return {group: sets for group, sets in GROUPS.items() if set(sets) <= set(names)}


def mean_name(names: Sequence[str]) -> str:
    """What a mean over these sets is of: `beir-14`, `3 sets`, `3 sets (cqadupstack: 2 of its 12 forums)`."""
    for group, sets in GROUPS.items():
        if set(sets) == set(names):
            return group
    counts = Counter(map(counted_as, names))
    text = f"{len(counts)} {'set' if len(counts) == 1 else 'sets'}"
    forums = counts.get(CQADUPSTACK, 0)
    part = "12 forums" if forums == len(FORUMS) else f"{forums} of its {len(FORUMS)} forums"
    return f"{text} ({CQADUPSTACK}: {part})" if forums else text

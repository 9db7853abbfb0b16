"""Time to measure a ranking, next to pytrec_eval by itself on the same dicts.

    python -m tests.benchmarks.bench_metrics [--queries 10000] [--documents 100] [--json]

Scores are drawn at random and the judged documents lie anywhere in the ranking, which is the hardest case: a model's
rankings come in order. Ours checks scores, grades and ids besides. Runs take turns; seconds are of CPU time.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytrec_eval

from hf_relabel.trainers.evaluation.metrics.ranking import ranking_metrics
from tests.benchmarks.measuring import Figure, emit, median_ratio, own_peak_mb, parser_of, taking_turns

METRICS = {"ndcg@10": "ndcg_cut.10", "map@100": "map_cut.100", "recall@100": "recall.100", "mrr": "recip_rank"}


def data(queries: int, documents: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    chance = random.Random(0)
    run = {
        f"query-{number}": {f"doc-{chance.randrange(10**7)}": chance.random() for _ in range(documents)}
        for number in range(queries)
    }
    qrels = {query: {doc: chance.randint(0, 3) for doc in chance.sample(list(run[query]), 5)} for query in run}
    return run, qrels


def seconds(work: Callable[[], Any]) -> Callable[[], float]:
    def run() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return run


def compare(metrics: list[str], options: argparse.Namespace) -> Figure:
    """One line of the table."""
    run, qrels = data(options.queries, options.documents)
    measures = {METRICS[metric] for metric in metrics}
    sides = {
        "ours": seconds(lambda: ranking_metrics(run, qrels, metrics)),
        "theirs": seconds(lambda: pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)),
    }
    taken = taking_turns(sides, options.rounds)
    return Figure(
        ", ".join(metrics),
        statistics.median(taken["ours"]),
        "CPU s",
        f"{options.queries:,} queries of {options.documents} documents",
        beside=f"pytrec_eval {statistics.median(taken['theirs']):.3f} s",
        ratio=median_ratio(taken["ours"], taken["theirs"]),
        target="<= 1.00",
        of="ratio",
        peak_mb=own_peak_mb(),
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    emit("metrics", [compare(metrics, options) for metrics in (["ndcg@10"], list(METRICS))], as_json=options.json)


if __name__ == "__main__":
    main()

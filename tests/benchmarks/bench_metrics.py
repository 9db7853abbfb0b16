"""Time to measure a ranking, next to pytrec_eval by itself on the same dicts.

    python -m tests.benchmarks.bench_metrics [--json]

What is added to trec_eval's work are the checks of scores, grades and ids, and our names for its values. Runs take
turns; a ratio is the median of the ratios of neighbouring runs, of CPU time.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytrec_eval
from tabulate import tabulate

from hf_relabel.trainers.metrics.ranking import ranking_metrics

METRICS = {"ndcg@10": "ndcg_cut.10", "map@100": "map_cut.100", "recall@100": "recall.100", "mrr": "recip_rank"}


def data(queries: int, documents: int) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    chance = random.Random(0)
    run = {
        f"query-{number}": {f"doc-{chance.randrange(10**7)}": chance.random() for _ in range(documents)}
        for number in range(queries)
    }
    qrels = {query: {doc: chance.randint(0, 3) for doc in chance.sample(list(run[query]), 5)} for query in run}
    return run, qrels


def seconds(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(metrics: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """One line of the table."""
    run, qrels = data(options.queries, options.documents)
    measures = {METRICS.get(metric, "recip_rank") for metric in metrics}
    sides = [
        lambda: ranking_metrics(run, qrels, metrics),
        lambda: pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run),
    ]
    pairs = []
    for number in range(options.rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)  # neither is always the first
        times = {side: seconds(sides[side]) for side in order}
        pairs.append((times[0], times[1]))
    return {
        "metrics": " ".join(metrics),
        "ours_ms": 1000 * statistics.median(ours for ours, _ in pairs),
        "pytrec_eval_ms": 1000 * statistics.median(theirs for _, theirs in pairs),
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time to measure a ranking, ours and pytrec_eval's.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    lines = [compare(metrics, options) for metrics in (["ndcg@10"], list(METRICS), [*METRICS, "mrr@10"])]
    if options.json:
        print(json.dumps({"queries": options.queries, "documents": options.documents, "lines": lines}))
        return
    print(tabulate(lines, "keys", floatfmt=("", ".1f", ".1f", ".3f")))


if __name__ == "__main__":
    main()

"""CPU time of the listwise judge's own work, next to the least that any judge has to do.

    python -m tests.benchmarks.bench_listwise

The least is joining the texts into one string and reading one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
from hf_relabel.builders.rows import Passage, Row

CANDIDATES = 16
ROUNDS = 2_000


def cpu_microseconds(work: Callable[[], object]) -> float:
    """Of one call, the best of five series, so that a busy machine does not count."""
    series = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(ROUNDS // 5):
            work()
        series.append((time.process_time() - started) / (ROUNDS // 5) * 1e6)
    return min(series)


def main() -> None:
    texts = [f"{number} " + "word " * 150 for number in range(CANDIDATES)]
    negatives = tuple(Passage(f"n{number}", "", text) for number, text in enumerate(texts))
    row = Row("q", "what is a word", (Passage("p", "", "A word is a unit of language."),), negatives)
    thinking = "\n".join(f"[{number}] says nothing of it" for number in range(1, CANDIDATES + 1))
    body = json.dumps({"thinking": thinking, "better": [3], "worse": []})
    judge, reply = ListwiseJudge(), Reply(body)
    (ask,) = judge.asks(row, range(CANDIDATES), constrained=True)
    figures = {
        "prompt_characters": sum(len(message.content) for message in ask.request.messages),
        "ask_microseconds": cpu_microseconds(lambda: judge.asks(row, range(CANDIDATES), constrained=True)),
        "read_microseconds": cpu_microseconds(lambda: judge.read(ask, reply)),
        "least_microseconds": cpu_microseconds(lambda: ("\n\n".join(texts), json.loads(body))),
    }
    both = figures["ask_microseconds"] + figures["read_microseconds"]
    figures["ratio_to_least"] = both / figures["least_microseconds"]
    if "--json" in sys.argv[1:]:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:10.1f}")


if __name__ == "__main__":
    main()

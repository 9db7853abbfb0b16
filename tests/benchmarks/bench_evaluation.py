"""Exact search over a large corpus, next to plain torch over the same vectors.

    python -m tests.benchmarks.bench_evaluation [--documents 1000000] [--json]

Vectors are drawn at random beforehand and kept in a file, so that no encoder is measured: the model only reads the
next ones. Ours is `trainers.evaluation.search` with everything around it (documents, ids, the best of all blocks, the
run it returns); plain is a matmul and a topk per block of the same file, merged by another topk. Both read the file
once, in blocks of the same size, in processes of their own that take turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.measuring import Called, Figure, called, emit, parser_of

DIMENSIONS = 384
QUERIES = 1_000
TOP_K = 100
_SEED = 0


def make(folder: Path, documents: int) -> None:
    chance = np.random.default_rng(_SEED)
    np.save(folder / "queries.npy", chance.standard_normal((QUERIES, DIMENSIONS), dtype=np.float32))
    with (folder / "documents.f32").open("wb") as file:
        for first in range(0, documents, 100_000):
            some = min(100_000, documents - first)
            chance.standard_normal((some, DIMENSIONS), dtype=np.float32).tofile(file)


class FileModel:
    """A bi-encoder whose vectors lie in a file, in the order in which it is asked for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.documents = (folder / "documents.f32").open("rb")

    def encode_query(self, texts: list[str], **_: Any) -> Any:
        import torch

        return torch.from_numpy(np.load(self.folder / "queries.npy"))

    def encode_document(self, texts: list[str], **_: Any) -> Any:
        import torch

        some = np.fromfile(self.documents, dtype=np.float32, count=len(texts) * DIMENSIONS)
        return torch.from_numpy(some.reshape(len(texts), DIMENSIONS))

    def similarity(self, queries: Any, documents: Any) -> Any:
        return queries @ documents.T


def ours(folder: str, documents: int) -> tuple[list[list[int]], float]:
    """The documents found for the first queries, by number, and the seconds that took."""
    import sentence_transformers  # noqa: F401 - whoever has a model to search with has paid for it

    from hf_relabel.cards.training_report import EvaluationSet
    from hf_relabel.trainers.evaluation.search import search
    from hf_relabel.trainers.evaluation.sets import Document, RetrievalSet

    def corpus() -> Iterator[Document]:
        for number in range(documents):
            yield Document(f"d{number}", "", "a text")

    queries = {f"q{number}": "a question" for number in range(QUERIES)}
    about = EvaluationSet(name="bench", queries=QUERIES, documents=documents)
    data = RetrievalSet(about, queries, {}, corpus, {})
    begin = time.perf_counter()
    run = search(FileModel(Path(folder)), data, top_k=TOP_K)
    seconds = time.perf_counter() - begin
    return [[int(docid[1:]) for docid in run[f"q{number}"]] for number in range(10)], seconds


def plain(folder: str, documents: int) -> tuple[list[list[int]], float]:
    """The same."""
    import sentence_transformers  # noqa: F401 - so that the memory of both can be compared
    import torch

    from hf_relabel.trainers.evaluation.search import BLOCK

    begin = time.perf_counter()
    queries = torch.from_numpy(np.load(Path(folder) / "queries.npy"))
    scores, places = torch.empty((QUERIES, 0)), torch.empty((QUERIES, 0), dtype=torch.int64)
    with (Path(folder) / "documents.f32").open("rb") as file:
        for first in range(0, documents, BLOCK):
            some = torch.from_numpy(
                np.fromfile(file, dtype=np.float32, count=BLOCK * DIMENSIONS).reshape(-1, DIMENSIONS)
            )
            values, found = (queries @ some.T).topk(min(TOP_K, len(some)), dim=1)
            scores, places = torch.cat([scores, values], dim=1), torch.cat([places, found + first], dim=1)
            scores, kept = scores.topk(min(TOP_K, scores.shape[1]), dim=1)
            places = places.gather(1, kept)
    return places[:10].tolist(), time.perf_counter() - begin


def figures(documents: int, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), documents)
        taken: dict[str, list[Called]] = {"ours": [], "plain": []}
        for number in range(rounds):
            for side in (ours, plain) if number % 2 == 0 else (plain, ours):
                taken[side.__name__].append(called(side, folder, documents))
        small = called(ours, folder, documents // 10)
    if any(one.result[0] != other.result[0] for one, other in zip(taken["ours"], taken["plain"], strict=True)):
        raise SystemExit("the two found different documents")
    times = {name: statistics.median(run.result[1] for run in runs) for name, runs in taken.items()}
    ratio = statistics.median(one.result[1] / two.result[1] for one, two in zip(*taken.values(), strict=True))
    peaks = {name: max(run.peak_mb for run in runs) for name, runs in taken.items()}
    size = f"{documents:,} documents of {DIMENSIONS} dimensions, {QUERIES:,} queries"
    return [
        Figure(
            "exact search, vectors given",
            times["ours"],
            "s",
            size,
            beside=f"torch matmul and topk {times['plain']:.2f} s, {peaks['plain']:.0f} MB",
            ratio=ratio,
            peak_mb=peaks["ours"],
        ),
        Figure(
            "memory of the search",
            peaks["ours"],
            "MB",
            size,
            beside=f"a tenth of the documents {small.peak_mb:.0f} MB",
            ratio=peaks["ours"] / small.peak_mb,
            note=f"the vectors have {documents * DIMENSIONS * 4 / 1e6:,.0f} MB",
        ),
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    emit("evaluation", figures(options.documents, options.rounds), as_json=options.json)


if __name__ == "__main__":
    main()

"""A BEIR folder with a few relevant documents that nobody judged, and runs that find them."""

from __future__ import annotations

import json
from pathlib import Path

GRADES = {"q1": {"a": 2}, "q2": {"b": 1, "x": 0}, "q3": {"c": 1}, "q4": {"d": 0}}
MORE = {"q1": {"a": 2, "a2": 1}, "q2": {"b": 1, "b2": 1}, "q3": {"c": 1}}
"""What is relevant indeed."""
TEXTS = {"a": "Air scatters blue light.", "b": "Salt melts ice.", "c": "Hens lay eggs.", "d": "Dew forms at night."}
FIRST = {"q1": ["x", "a", "a2"], "q2": ["b2", "b", "y"], "q3": ["c", "x", "c-copy"], "q4": ["d2", "d"]}
SECOND = {"q1": ["a", "y", "x"], "q2": ["b", "y", "z"], "q3": ["y", "z", "c"]}


def tiny_set(folder: Path, grades: dict[str, dict[str, int]] | None = None) -> Path:
    """The folder `tiny`, with queries q1 to q5."""
    beir = folder / "tiny"
    (beir / "qrels").mkdir(parents=True)
    others = [f"{docid}2" for docid in TEXTS] + ["x", "y", "z"]
    documents = {**TEXTS, **{docid: f"Text of {docid}." for docid in others}, "c-copy": TEXTS["c"]}
    _jsonl(beir / "corpus.jsonl", [{"_id": docid, "title": "", "text": text} for docid, text in documents.items()])
    queries = {"q1": "why is the sky blue", "q2": "what melts ice", "q3": "who lays eggs", "q4": "what  forms dew"}
    _jsonl(beir / "queries.jsonl", [{"_id": name, "text": text} for name, text in (*queries.items(), ("q5", "hm"))])
    write_grades(beir / "qrels" / "test.tsv", GRADES if grades is None else grades)
    for name, ranking in (("first", FIRST), ("second", SECOND)):
        lines = [
            f"{query_id} Q0 {docid} {rank} {10 - rank} {name}\n"
            for query_id, docids in ranking.items()
            for rank, docid in enumerate(docids, start=1)
        ]
        (folder / f"{name}.trec").write_text("".join(lines))
    return beir


def write_grades(path: Path, grades: dict[str, dict[str, int]]) -> None:
    lines = [
        f"{query_id}\t{docid}\t{grade}\n" for query_id, judged in grades.items() for docid, grade in judged.items()
    ]
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def truth_file(folder: Path) -> Path:
    """For the judge that knows: what is relevant and not judged."""
    path = folder / "truth.jsonl"
    missed = {query_id: sorted(grades.keys() - GRADES[query_id].keys()) for query_id, grades in MORE.items()}
    _jsonl(path, [{"query_id": query_id, "false_negatives": docids} for query_id, docids in missed.items()])
    return path


def _jsonl(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))

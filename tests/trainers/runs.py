"""Small training runs for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe
from tests.trainers.tiny_models import tiny_bert, tiny_qwen
from tests.trainers.training_rows import plain_rows


def rows_file(folder: Path, rows: int = 24, *, positives: int = 2) -> Path:
    """Rows as JSON lines."""
    path = folder / "rows.jsonl"
    lines = [json.dumps(row) for row in plain_rows(rows, positives=positives, negatives=4)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def beir_folder(folder: Path, rows: int = 24, name: str = "beir", *, trained: int = 0, ask: str = "ask") -> Path:
    """The same queries in other words, with their positives, as a set to evaluate on.

    Args:
        trained: so many of the queries are in the words of the rows.
    """
    place = folder / name
    (place / "qrels").mkdir(parents=True)
    made = plain_rows(rows, positives=2, negatives=4)
    passages = [passage for row in made for key in ("positive_passages", "negative_passages") for passage in row[key]]
    write_lines(
        place / "corpus.jsonl", [{"_id": each["docid"], "title": "", "text": each["text"]} for each in passages]
    )
    queries = [row["query"] if number < trained else f"{ask} {row['query']}" for number, row in enumerate(made)]
    write_lines(
        place / "queries.jsonl",
        [{"_id": row["query_id"], "text": query} for row, query in zip(made, queries, strict=True)],
    )
    qrels = [f"{row['query_id']}\t{each['docid']}\t1" for row in made for each in row["positive_passages"]]
    (place / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]), encoding="utf-8")
    return place


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")


def tiny_recipe(folder: Path, kind: str = "bi-encoder", **changes: Any) -> Recipe:
    """A recipe of that kind on an untrained model of a few thousand weights."""
    if kind == "late-interaction" or kind == "bi-encoder":
        model = tiny_bert(folder / "base")
    elif kind == "sparse":
        model = tiny_bert(folder / "base", masked=True)
    elif kind == "lora":
        model, kind = tiny_qwen(folder / "base"), "bi-encoder"
        changes.setdefault("lora", {"rank": 2, "alpha": 4})
        changes.setdefault("pooling", "lasttoken")
    else:
        model = tiny_bert(folder / "base")
    values = {
        "name": f"tiny-{kind}",
        "kind": kind,
        "model": model,
        "loss": {"negatives": 2},
        "max_length": 32,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "max_steps": 8,
    }
    return load_recipe({**values, **changes})

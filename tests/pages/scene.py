"""The files that the pages speak of, made of the set that ships with the package."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hf_relabel.builders.quickstart import rows_path, truth_path


def lay_out(folder: Path) -> None:
    """Put into a folder: `train.jsonl`, `truth.jsonl`, `pairs.jsonl`, `qa.csv`, the BEIR folder `beir/dev`, and the
    rows where they lie in a clone."""
    in_a_clone = folder / "builders" / "quickstart"
    in_a_clone.mkdir(parents=True)
    shutil.copyfile(rows_path(), in_a_clone / "rows.jsonl")
    shutil.copyfile(rows_path(), folder / "train.jsonl")
    shutil.copyfile(truth_path(), folder / "truth.jsonl")
    rows = [json.loads(line) for line in rows_path().read_text(encoding="utf-8").splitlines()]
    truth = {line["query_id"]: line for line in map(json.loads, truth_path().read_text(encoding="utf-8").splitlines())}
    _jsonl(folder / "pairs.jsonl", ({"query": row["query"], "positive": _positive(row)["text"]} for row in rows))
    with (folder / "qa.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["question", "answer", "wrong_answer", "source"])
        for row in rows:
            lines.writerow([row["query"], _positive(row)["text"], row["negative_passages"][0]["text"], "help pages"])
    _beir(folder / "beir" / "dev", rows, truth)


def _positive(row: Mapping[str, Any]) -> Mapping[str, Any]:
    passage: Mapping[str, Any] = row["positive_passages"][0]
    return passage


def _beir(folder: Path, rows: list[dict[str, Any]], truth: Mapping[str, Mapping[str, Any]]) -> None:
    (folder / "qrels").mkdir(parents=True)
    passages = {
        passage["docid"]: passage for row in rows for passage in (*row["positive_passages"], *row["negative_passages"])
    }
    _jsonl(
        folder / "corpus.jsonl", ({"_id": key, "title": "", "text": value["text"]} for key, value in passages.items())
    )
    # In other words than those that are trained on.
    _jsonl(folder / "queries.jsonl", ({"_id": row["query_id"], "text": f"Tell me: {row['query']}"} for row in rows))
    lines = ["query-id\tcorpus-id\tscore"]
    for row in rows:
        relevant = [_positive(row)["docid"], *truth[row["query_id"]]["false_negatives"]]
        lines += [f"{row['query_id']}\t{docid}\t1" for docid in relevant]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")

"""A third set with known false negatives, out of WordNet: a concept asks for its kinds.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb .
    python -m tests.benchmarks.wordnet_set usr/share/wordnet/data.noun FOLDER [--rows 2000]

A query is a concept of nouns with its meaning, relevant are all concepts below it, direct or not. A row has one of them
as its known positive and 20 hard negatives by BM25 (`mine`) over the other concepts; those of them that lie below the
query, too, are its false negatives. Concepts above or below one that tests are none that trains. Nothing was tuned on
it: rules that were found on the other sets can be tried on it.

The format of data.noun is that of the manual page wndb(5WN).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_relabel.builders.mining.mining import mine_source
from hf_relabel.builders.mining.settings import MiningSettings
from hf_relabel.builders.sources import open_source

FEWEST, MOST = 8, 40
"""Kinds of a concept that asks."""
TESTED, NEGATIVES = 300, 20


@dataclass(frozen=True)
class Concept:
    words: str
    meaning: str
    kinds: tuple[str, ...]


def read_concepts(file: Path) -> dict[str, Concept]:
    """By their offsets in the file."""
    found = {}
    for line in file.read_text("latin-1").splitlines():
        if line.startswith("  "):  # the licence
            continue
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        words = [fields[4 + 2 * each].replace("_", " ") for each in range(int(fields[3], 16))]
        pointers = fields[5 + 2 * len(words) :]
        kinds = tuple(to for symbol, to in zip(pointers[::4], pointers[1::4], strict=False) if symbol in ("~", "~i"))
        found[fields[0]] = Concept(", ".join(words), gloss.strip(), kinds)
    return found


def below(concepts: Mapping[str, Concept]) -> dict[str, frozenset[str]]:
    """Of each concept all that are kinds of it, direct or not."""
    found: dict[str, frozenset[str]] = {}

    def of(concept: str) -> frozenset[str]:
        if concept not in found:
            kinds = concepts[concept].kinds
            found[concept] = frozenset(kinds).union(*(of(kind) for kind in kinds))
        return found[concept]

    for concept in concepts:
        of(concept)
    return found


def split(kinds: Mapping[str, frozenset[str]], rows: int) -> tuple[list[str], list[str]]:
    """Concepts that train, and that test."""
    asking = [concept for concept, of in kinds.items() if FEWEST <= len(of) <= MOST]
    mixed = [asking[each] for each in np.random.default_rng(0).permutation(len(asking))]
    tested, rest = mixed[:TESTED], mixed[TESTED:]
    under = frozenset().union(*(kinds[concept] for concept in tested))
    apart = [concept for concept in rest if concept not in under and not kinds[concept] & set(tested)]
    return apart[:rows], tested


def passage(offset: str, concept: Concept) -> dict[str, str]:
    return {"docid": offset, "title": concept.words, "text": concept.meaning}


def write(concepts: Mapping[str, Concept], folder: Path, rows: int) -> None:
    kinds = below(concepts)
    trained, tested = split(kinds, rows)
    corpus = sorted(frozenset().union(*(kinds[concept] for concept in (*trained, *tested))))
    chance = np.random.default_rng(1)
    positives = {concept: str(chance.choice(sorted(kinds[concept]))) for concept in trained}
    (folder / "beir/qrels").mkdir(parents=True)
    _write(folder / "beir/corpus.jsonl", ({"_id": each, **passage(each, concepts[each])} for each in corpus))
    queries = [{"_id": each, "text": _asked(concepts[each])} for each in tested]
    _write(folder / "beir/queries.jsonl", queries)
    judged = [f"{concept}\t{kind}\t1\n" for concept in tested for kind in sorted(kinds[concept])]
    (folder / "beir/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    pairs = [
        {
            "query_id": concept,
            "query": _asked(concepts[concept]),
            "positive_passages": [passage(positive, concepts[positive])],
            "negative_passages": [],
            "subset": folder.name,
        }
        for concept, positive in positives.items()
    ]
    _write(folder / "pairs.jsonl", pairs)
    mined = folder / "rows.jsonl"
    mine_source(
        open_source(folder / "pairs.jsonl"),
        mined,
        MiningSettings(negatives=NEGATIVES),
        corpus=str(folder / "beir"),
    )
    _write(folder / "truth.jsonl", _truth(mined, kinds))


def _asked(concept: Concept) -> str:
    return f"{concept.words.partition(', ')[0]}: {concept.meaning}"


def _truth(rows: Path, kinds: Mapping[str, frozenset[str]]) -> Iterable[dict[str, Any]]:
    for line in rows.read_text("utf-8").splitlines():
        row = json.loads(line)
        mined = [each["docid"] for each in row["negative_passages"]]
        wrong = [docid for docid in mined if docid in kinds[row["query_id"]]]
        positive = row["positive_passages"][0]["docid"]
        yield {"query_id": row["query_id"], "known_positive": positive, "false_negatives": wrong}


def _write(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with file.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write rows, truth and a BEIR folder out of WordNet's nouns.")
    parser.add_argument("nouns", type=Path, help="data.noun of WordNet 3.0")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=2_000)
    options = parser.parse_args(arguments)
    sys.setrecursionlimit(10_000)
    write(read_concepts(options.nouns), options.folder, options.rows)


if __name__ == "__main__":
    main()

"""Sets with known false negatives out of WordNet, on which nothing was tuned.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb .
    python -m tests.benchmarks.wordnet_set usr/share/wordnet/data.noun FOLDER [--rows 2000]
    python -m tests.benchmarks.wordnet_set usr/share/wordnet/data.verb FOLDER --tested 100
    python -m tests.benchmarks.wordnet_set usr/share/wordnet/data.noun FOLDER --siblings

A query is a concept with its meaning, relevant are all concepts below it, direct or not. Concepts above or below one
that tests are none that trains. With --siblings the set is built as banking77 is: 77 families of concepts, of which
some ask, some test and some are passages, and relevant are all passages of the query's family; so the same passages
return in many rows. A row has one relevant passage as its known positive and 20 hard negatives by BM25 (`mine`) over
the others; those of them that are relevant, too, are its false negatives.

The format of the files is that of the manual page wndb(5WN).
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
NEGATIVES = 20
FAMILIES, PASSAGES, ASKING, TESTING = 77, 20, 26, 8
"""Of --siblings: families, and of each so many concepts."""


@dataclass(frozen=True)
class Queries:
    """Concepts that train and that test; what is relevant to them; the passages."""

    trained: Sequence[str]
    tested: Sequence[str]
    relevant: Mapping[str, frozenset[str]]
    passages: frozenset[str]


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


def kinds_of(kinds: Mapping[str, frozenset[str]], rows: int, tests: int) -> Queries:
    """A concept asks for its kinds."""
    asking = [concept for concept, of in kinds.items() if FEWEST <= len(of) <= MOST]
    mixed = [asking[each] for each in np.random.default_rng(0).permutation(len(asking))]
    tested, rest = mixed[:tests], mixed[tests:]
    under = frozenset().union(*(kinds[concept] for concept in tested))
    apart = [concept for concept in rest if concept not in under and not kinds[concept] & set(tested)]
    asked = (*apart[:rows], *tested)
    return Queries(apart[:rows], tested, kinds, frozenset().union(*(kinds[concept] for concept in asked)))


def siblings_of(kinds: Mapping[str, frozenset[str]]) -> Queries:
    """A concept asks for others of its family."""
    chance, size = np.random.default_rng(0), PASSAGES + ASKING + TESTING
    large = [concept for concept, of in kinds.items() if size <= len(of) <= 4 * size]
    trained: list[str] = []
    tested: list[str] = []
    relevant: dict[str, frozenset[str]] = {}
    taken: set[str] = set()
    for concept in (large[each] for each in chance.permutation(len(large))):
        if taken.isdisjoint(kinds[concept]) and len(trained) < FAMILIES * ASKING:
            members = sorted(kinds[concept])
            mixed = [members[each] for each in chance.permutation(len(members))][:size]
            taken.update(members)
            trained += mixed[PASSAGES : PASSAGES + ASKING]
            tested += mixed[PASSAGES + ASKING :]
            relevant.update(dict.fromkeys(mixed[PASSAGES:], frozenset(mixed[:PASSAGES])))
    return Queries(trained, tested, relevant, frozenset().union(*relevant.values()))


def passage(offset: str, concept: Concept) -> dict[str, str]:
    return {"docid": offset, "title": concept.words, "text": concept.meaning}


def write(concepts: Mapping[str, Concept], asked: Queries, folder: Path) -> None:
    chance = np.random.default_rng(1)
    positives = {concept: str(chance.choice(sorted(asked.relevant[concept]))) for concept in asked.trained}
    (folder / "beir/qrels").mkdir(parents=True)
    _write(
        folder / "beir/corpus.jsonl",
        ({"_id": each, **passage(each, concepts[each])} for each in sorted(asked.passages)),
    )
    queries = [{"_id": each, "text": _asked(concepts[each])} for each in asked.tested]
    _write(folder / "beir/queries.jsonl", queries)
    judged = [f"{concept}\t{kind}\t1\n" for concept in asked.tested for kind in sorted(asked.relevant[concept])]
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
    _write(folder / "truth.jsonl", _truth(mined, asked.relevant))


def _asked(concept: Concept) -> str:
    return f"{concept.words.partition(', ')[0]}: {concept.meaning}"


def _truth(rows: Path, relevant: Mapping[str, frozenset[str]]) -> Iterable[dict[str, Any]]:
    for line in rows.read_text("utf-8").splitlines():
        row = json.loads(line)
        mined = [each["docid"] for each in row["negative_passages"]]
        wrong = [docid for docid in mined if docid in relevant[row["query_id"]]]
        positive = row["positive_passages"][0]["docid"]
        yield {"query_id": row["query_id"], "known_positive": positive, "false_negatives": wrong}


def _write(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    with file.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write rows, truth and a BEIR folder out of WordNet.")
    parser.add_argument("concepts", type=Path, help="data.noun or data.verb of WordNet 3.0")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--tested", type=int, default=300, help="queries that test")
    parser.add_argument("--siblings", action="store_true", help="a concept asks for others of its family")
    options = parser.parse_args(arguments)
    sys.setrecursionlimit(10_000)
    concepts = read_concepts(options.concepts)
    kinds = below(concepts)
    asked = siblings_of(kinds) if options.siblings else kinds_of(kinds, options.rows, options.tested)
    write(concepts, asked, options.folder)


if __name__ == "__main__":
    main()

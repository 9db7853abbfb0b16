"""The set out of WordNet: who is relevant, who tests, and which negatives are false ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks import wordnet_set
from tests.benchmarks.wordnet_set import below, kinds_of, read_concepts, siblings_of, write


def line(offset: int, word: str, meaning: str, kinds: tuple[int, ...] = ()) -> str:
    """As wndb(5WN) has it: offset, file, type, words, pointers with their targets, gloss."""
    pointers = [("@", 1), *(("~", kind) for kind in kinds)]
    shown = " ".join(f"{symbol} {to:08d} n 0000" for symbol, to in pointers)
    return f"{offset:08d} 05 n 01 {word} 0 {len(pointers):03d} {shown} | {meaning}  "


@pytest.fixture
def nouns(tmp_path: Path) -> Path:
    """Four families of twelve, the first of them two levels deep."""
    lines = [
        "  1 This software and database is being provided to you",
        line(1, "thing", "what is", (100, 200, 300, 400)),
    ]
    for family, word in ((100, "dog"), (200, "tree"), (300, "dance"), (400, "tool")):
        kinds = tuple(range(family + 1, family + 13))
        direct = kinds if family != 100 else kinds[:-1]
        lines.append(line(family, word, f"moving {word} of any kind", direct))
        for kind in kinds:
            inner = (112,) if kind == 111 else ()
            lines.append(line(kind, f"small_{word}_{kind}", f"moving {word} number {kind}", inner))
    file = tmp_path / "data.noun"
    file.write_text("\n".join(lines), "latin-1")
    return file


def test_kinds_of_kinds_are_relevant_and_the_licence_is_no_concept(nouns: Path) -> None:
    concepts = read_concepts(nouns)
    assert len(concepts) == 1 + 4 * 13
    kinds = below(concepts)
    assert concepts["00000101"].words == "small dog 101"
    assert kinds["00000100"] == {f"{number:08d}" for number in range(101, 113)}
    assert len(kinds["00000001"]) == 52


def test_no_concept_that_trains_lies_above_or_below_one_that_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet_set, "FEWEST", 1)
    kinds = {f"{n}": frozenset({f"{n}-"}) for n in range(20)} | {f"{n}-": frozenset({"leaf"}) for n in range(20)}
    asked = kinds_of(kinds, 100, 4)
    assert len(asked.tested) == 4
    assert not {each.rstrip("-") for each in asked.trained} & {each.rstrip("-") for each in asked.tested}


def test_of_siblings_no_concept_asks_tests_and_is_a_passage_and_families_are_apart() -> None:
    kinds = {f"{n}": frozenset(f"{n}-{m}" for m in range(60)) for n in range(80)} | {"all": frozenset({"0-1", "1-1"})}
    asked = siblings_of(kinds)
    assert (len(asked.trained), len(asked.tested)) == (77 * 26, 77 * 8)
    assert len({*asked.trained, *asked.tested, *asked.passages}) == 77 * (26 + 8 + 20)
    for concept in asked.trained:
        assert {each.partition("-")[0] for each in asked.relevant[concept]} == {concept.partition("-")[0]}


def test_negatives_that_are_kinds_of_the_query_are_its_false_negatives(nouns: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    concepts = read_concepts(nouns)
    write(concepts, kinds_of(below(concepts), 10, 1), folder)
    rows = [json.loads(each) for each in (folder / "rows.jsonl").read_text().splitlines()]
    truth = [json.loads(each) for each in (folder / "truth.jsonl").read_text().splitlines()]
    assert len(rows) == len(truth) == 3
    for row, known in zip(rows, truth, strict=True):
        family = int(row["query_id"])
        mined = {each["docid"] for each in row["negative_passages"]}
        assert set(known["false_negatives"]) == {each for each in mined if family < int(each) <= family + 12}
        assert known["false_negatives"]
        assert set(known["false_negatives"]) < mined
        assert known["known_positive"] not in mined
    judged = (folder / "beir/qrels/test.tsv").read_text().splitlines()[1:]
    assert len(judged) == 12

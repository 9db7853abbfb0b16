"""Output formats: what came in comes out, with what the technique changes and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_relabel.builders.configs.writing import BuildReport, write_configs
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.outputs import OutputFormat, write_formats
from hf_relabel.builders.rows import NumberedRow
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.builders.techniques import Technique

FLAG = {
    "query": "q",
    "pos": ["p"],
    "neg": ["false", "b", "c"],
    "pos_scores": [0.9],
    "neg_scores": [0.7, 0.2, 0.1],
    "neg_id": ["1", "2", "3"],
    "prompt": "Find it:",
    "type": "retrieval",
}
TUPLE = {"anchor": "q", "positive": "p", "negative_1": "false", "negative_2": "b", "negative_3": "c", "by": "ann"}
TRIPLETS = [{"anchor": "q", "positive": "p", "negative": text, "by": text.upper()} for text in ("false", "b", "c")]
LISTED = {"query": "q", "docs": ["b", "p", "false", "c"], "labels": [0, 1, 0, 0], "lang": "en"}
TEVATRON = {
    "query_id": "1",
    "query": "q",
    "positive_passages": [{"docid": "p", "text": "p", "url": "u/p"}],
    "negative_passages": [{"docid": text, "text": text, "url": f"u/{text}"} for text in ("false", "b", "c")],
    "lang": "en",
}
DPR = {
    "question": "q",
    "answers": ["yes"],
    "positive_ctxs": [{"title": "", "text": "p", "score": 1000}],
    "hard_negative_ctxs": [{"title": "", "text": text, "score": 9} for text in ("false", "b", "c")],
}
MS_MARCO = {
    "query": "q",
    "passages": {"passage_text": ["b", "p", "false", "c"], "is_selected": [0, 1, 0, 0], "url": ["1", "2", "3", "4"]},
    "answers": ["yes"],
}
PAIRS = [{"query": "q", "passage": text, "label": float(text == "p"), "n": text} for text in ("p", "false", "b", "c")]
LISTS = {"query": "q", "positive": "p", "negatives": ["false", "b", "c"], "lang": "en"}

# What came in, and what relabelling gives where the text "false" is a false negative.
CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "flagembedding": (
        [FLAG],
        [
            {
                **FLAG,
                "pos": ["p", "false"],
                "neg": ["b", "c"],
                "pos_scores": [0.9, 0.7],
                "neg_scores": [0.2, 0.1],
                "neg_id": ["2", "3"],
            }
        ],
    ),
    "n-tuple": (
        [TUPLE],
        [
            {**TUPLE, "negative_1": "b", "negative_2": "c", "negative_3": "b"},
            {**TUPLE, "positive": "false", "negative_1": "b", "negative_2": "c", "negative_3": "b"},
        ],
    ),
    "triplet": (TRIPLETS, [*TRIPLETS[1:], *({**record, "positive": "false"} for record in TRIPLETS[1:])]),
    "labeled-list": ([LISTED], [{**LISTED, "labels": [0, 1, 1, 0]}]),
    "tevatron": (
        [TEVATRON],
        [
            {
                **TEVATRON,
                "positive_passages": [*TEVATRON["positive_passages"], TEVATRON["negative_passages"][0]],
                "negative_passages": TEVATRON["negative_passages"][1:],
            }
        ],
    ),
    "dpr": (
        [DPR],
        [
            {
                **DPR,
                "positive_ctxs": [*DPR["positive_ctxs"], DPR["hard_negative_ctxs"][0]],
                "hard_negative_ctxs": DPR["hard_negative_ctxs"][1:],
            }
        ],
    ),
    "msmarco": ([MS_MARCO], [{**MS_MARCO, "passages": {**MS_MARCO["passages"], "is_selected": [0, 1, 1, 0]}}]),
    "labeled-pairs": (PAIRS, [PAIRS[0], {**PAIRS[1], "label": 1.0}, *PAIRS[2:]]),
    "negative-list": (
        [LISTS],
        [{**LISTS, "negatives": ["b", "c"]}, {**LISTS, "positive": "false", "negatives": ["b", "c"]}],
    ),
}


def source_of(folder: Path, records: list[dict[str, Any]]) -> Source:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return open_source(path)


def judged(source: Source) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    for numbered in source.rows():
        yield (
            numbered,
            [
                Verdict(
                    place,
                    passage.docid,
                    Outcome.FALSE_NEGATIVE if passage.text == "false" else Outcome.NEGATIVE,
                    "judged",
                )
                for place, passage in enumerate(numbered.row.negative_passages)
            ],
        )


def build(source: Source, out: Path, format: str) -> BuildReport:
    wanted = OutputFormat(format, source)
    return write_configs(
        judged(source),
        out,
        stage_names=["one"],
        scores=source.scored,
        beside=lambda folder: write_formats(folder, wanted, source.records(), list(Technique), limit=7),
    )


def written(out: Path, technique: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "formats" / f"{technique}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("format", list(CASES))
def test_what_came_in_comes_out_with_what_relabelling_changes(format: str, tmp_path: Path) -> None:
    records, relabelled = CASES[format]
    source = source_of(tmp_path, records)

    build(source, tmp_path / "out", "same")

    assert source.format == format
    assert written(tmp_path / "out", "original") == records
    assert written(tmp_path / "out", "relabel") == relabelled
    assert written(tmp_path / "out", "remove") == []
    assert source_of(tmp_path, relabelled).format == format  # a trainer needs no change


@pytest.mark.parametrize("format", list(CASES))
def test_what_is_written_back_holds_the_passages_of_the_config(format: str, tmp_path: Path) -> None:
    build(source_of(tmp_path, CASES[format][0]), tmp_path / "out", "same")

    config = datasets.Dataset.from_parquet(str(tmp_path / "out/remove-hn/*.parquet"), cache_dir=str(tmp_path / "cache"))
    [again] = source_of(tmp_path, written(tmp_path / "out", "remove-hn")).rows()

    for side in ("positive_passages", "negative_passages"):
        assert {passage.text for passage in getattr(again.row, side)} == {each["text"] for each in config[0][side]}


def test_columns_that_the_user_named_are_written_back(tmp_path: Path) -> None:
    records = [{"id": text, "query": "q", "response": "p", "negative": text} for text in ("false", "b")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    source = open_source(tmp_path / "train.jsonl", columns={"positive": "response"})

    build(source, tmp_path / "out", "same")

    assert written(tmp_path / "out", "original") == records
    assert written(tmp_path / "out", "relabel") == [records[1], {**records[1], "response": "false"}]


NUMBERS = {**LISTS, "negative_scores": [0.9, 0.2, 0.1], "positive_id": "p1", "negative_ids": ["f", "b1", "c1"]}
SCORED = {"anchor": "q", "positive": "p", "negative_1": "false", "negative_2": "b"}
PARALLEL: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "lists beside the negatives": (
        [NUMBERS],
        [
            {**NUMBERS, "negatives": ["b", "c"], "negative_scores": [0.2, 0.1], "negative_ids": ["b1", "c1"]},
            {
                **NUMBERS,
                "positive": "false",
                "negatives": ["b", "c"],
                "negative_scores": [0.2, 0.1],
                "positive_id": "f",
                "negative_ids": ["b1", "c1"],
            },
        ],
    ),
    "several positives": (
        [
            {
                **LISTS,
                "positive": ["p", "o"],
                "negatives": ["false", "b"],
                "positive_ids": [1, 2],
                "scores": [4, 3, 2, 1],
            }
        ],
        [{**LISTS, "positive": ["p", "o", "false"], "negatives": ["b"], "scores": [4, 3, 2, 1]}],
    ),
    "scores of an n-tuple": (
        [{**SCORED, "score": [1.0, 0.9, 0.1]}],
        [
            {**SCORED, "negative_1": "b", "score": [1.0, 0.1, 0.1]},
            {**SCORED, "positive": "false", "negative_1": "b", "score": [0.9, 0.1, 0.1]},
        ],
    ),
    "fields of an n-tuple's columns": (
        [{**SCORED, "positive_id": "p1", "negative_1_id": "f", "negative_2_id": "b1"}],
        [
            {**SCORED, "negative_1": "b", "positive_id": "p1", "negative_1_id": "b1", "negative_2_id": "b1"},
            {
                **SCORED,
                "positive": "false",
                "negative_1": "b",
                "positive_id": "f",
                "negative_1_id": "b1",
                "negative_2_id": "b1",
            },
        ],
    ),
    "scores of triplets": (
        [{**TRIPLETS[0], "score": [1.0, 0.9]}, {**TRIPLETS[1], "score": [1.0, 0.1]}],
        [{**TRIPLETS[1], "score": [1.0, 0.1]}, {**TRIPLETS[1], "positive": "false", "score": [0.9, 0.1]}],
    ),
    "margins of triplets": (
        [{**TRIPLETS[0], "label": 0.1, "by": ["x"]}, {**TRIPLETS[1], "label": 0.9}],
        [{**TRIPLETS[1], "label": 0.9}, {**TRIPLETS[1], "positive": "false"}],
    ),
}


@pytest.mark.parametrize("what", list(PARALLEL))
def test_what_is_said_of_a_passage_goes_where_the_passage_goes(what: str, tmp_path: Path) -> None:
    records, relabelled = PARALLEL[what]

    build(source_of(tmp_path, records), tmp_path / "out", "same")

    assert written(tmp_path / "out", "original") == records
    assert written(tmp_path / "out", "relabel") == relabelled


def test_fields_that_moved_and_those_that_could_not_are_counted(tmp_path: Path) -> None:
    records = [{**NUMBERS, "positive_score": 0.8}, {**NUMBERS, "query": "r", "answers": ["1", "2", "3"]}]

    report = build(source_of(tmp_path, records), tmp_path / "out", "same")

    counts = report.manifest["formats"]["files"]["formats/relabel.jsonl"]
    assert counts["fields_moved"] == {"negative_ids": 2, "negative_scores": 2, "positive_id": 2, "positive_score": 1}
    assert "positive_score moved with the passages in 1 row" in report.to_text()
    margins = source_of(tmp_path, PARALLEL["margins of triplets"][0])
    assert "label left out, as it could not follow them, in 1 row" in build(margins, tmp_path / "m", "same").to_text()


RENAMED: dict[str, tuple[dict[str, str], dict[str, str | tuple[str, ...]]]] = {
    "triplet": (
        {"anchor": "question", "positive": "answer", "negative": "wrong"},
        {"query": "question", "positive": "answer", "negative": "wrong"},
    ),
    "n-tuple": (
        {"positive": "good", "negative_1": "hard_a", "negative_2": "hard_b", "negative_3": "hard_c"},
        {"positive": "good", "negative": "hard_*"},
    ),
    "negative-list": ({"query": "ask", "negatives": "bad"}, {"query": "ask", "negative": "bad"}),
    "labeled-pairs": ({"passage": "shown", "label": "right"}, {"passage": "shown", "label": "right"}),
    "tevatron": (
        {"positive_passages": "good", "negative_passages": "bad"},
        {"positive": "good", "negative": "bad"},
    ),
    "dpr": (
        {"question": "ask", "hard_negative_ctxs": "bad"},
        {"query": "ask", "negative": "bad"},
    ),
}


@pytest.mark.parametrize("format", list(RENAMED))
def test_records_keep_the_names_of_their_columns(format: str, tmp_path: Path) -> None:
    names, columns = RENAMED[format]
    records, relabelled = (
        [{names.get(name, name): value for name, value in record.items()} for record in records]
        for records in CASES[format]
    )
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    source = open_source(tmp_path / "train.jsonl", columns=columns)

    build(source, tmp_path / "out", "same")

    assert source.format == format
    assert written(tmp_path / "out", "original") == records
    assert written(tmp_path / "out", "relabel") == relabelled


def test_lists_of_other_names_are_written_back_as_well(tmp_path: Path) -> None:
    record = {"query": "q", "good": ["p"], "bad": ["b", "false"], "pos_id": ["1"], "neg_id": ["2", "3"]}
    (tmp_path / "train.jsonl").write_text(json.dumps(record) + "\n")
    source = open_source(tmp_path / "train.jsonl", columns={"positive": "good", "negative": "bad"})
    assert source.format == "flagembedding"

    build(source, tmp_path / "out", "same")

    assert written(tmp_path / "out", "relabel") == [{**record, "good": ["p", "false"], "bad": ["b"]}]


def test_scores_move_with_the_texts_of_their_own_column(tmp_path: Path) -> None:
    record = {"query": "q", "pos": ["p"], "bad": ["b"], "neg": ["c", "false"], "pos_scores": [3], "neg_scores": [1, 2]}
    (tmp_path / "train.jsonl").write_text(json.dumps(record) + "\n")
    source = open_source(tmp_path / "train.jsonl", columns={"negative": ["bad", "neg"]})

    build(source, tmp_path / "out", "same")

    assert written(tmp_path / "out", "relabel") == [
        {**record, "pos": ["p", "false"], "neg": ["c"], "pos_scores": [3, 2], "neg_scores": [1]}
    ]


def test_other_formats_are_made_from_the_rows(tmp_path: Path) -> None:
    source = source_of(tmp_path, [TEVATRON])
    expected = {
        "flagembedding": [{"query": "q", "pos": ["p", "false"], "neg": ["b", "c"]}],
        "triplet": [
            {"anchor": "q", "positive": positive, "negative": negative}
            for positive in ("p", "false")
            for negative in ("b", "c")
        ],
        "negative-list": [{"query": "q", "positive": positive, "negatives": ["b", "c"]} for positive in ("p", "false")],
        "labeled-list": [{"query": "q", "docs": ["p", "false", "b", "c"], "labels": [1, 1, 0, 0]}],
    }

    for format, records in expected.items():
        build(source, tmp_path / "out", format)
        assert written(tmp_path / "out", "relabel") == records


def test_rows_that_no_record_can_hold_are_counted(tmp_path: Path) -> None:
    source = source_of(
        tmp_path, [{"anchor": "q", "positive": "p", "negative": "false"}, {**TRIPLETS[1], "anchor": "r"}]
    )

    report = build(source, tmp_path / "out", "same")

    counts = report.manifest["formats"]["files"]["formats/relabel.jsonl"]
    assert (counts["rows"], counts["records"], counts["rows_without_record"]) == (2, 1, 1)
    assert "formats/relabel.jsonl: 1 record (same) of 2 rows; 1 row without negatives left out." in report.to_text()


def test_n_tuples_that_repeat_a_negative_are_counted(tmp_path: Path) -> None:
    report = build(source_of(tmp_path, [TUPLE, {**TUPLE, "anchor": "r", "negative_1": "a"}]), tmp_path / "out", "same")

    files = report.manifest["formats"]["files"]
    assert [files[f"formats/{name}.jsonl"]["rows_repeating"] for name in ("original", "relabel")] == [0, 1]


def test_no_config_reads_the_formats_and_the_next_build_takes_them_away(tmp_path: Path) -> None:
    source = source_of(tmp_path, [FLAG])
    build(source, tmp_path / "out", "same")
    names = datasets.get_dataset_config_names(str(tmp_path / "out"))
    write_configs(judged(source), tmp_path / "out", stage_names=["one"], scores=True)

    assert names == [*Technique, "verdicts"]
    assert not (tmp_path / "out" / "formats").exists()


@pytest.mark.parametrize(("value", "told"), [("Infinity", "inf"), ("-Infinity", "-inf"), ("NaN", "nan")])
def test_numbers_that_json_has_no_form_for_are_refused(value: str, told: str, tmp_path: Path) -> None:
    records = [FLAG, {**FLAG, "by": {"votes": [None, float(value)]}}]
    with pytest.raises(BuildError, match=rf"Row 2, field 'by\.votes\[1\]': {told}, which JSON has no form for"):
        build(source_of(tmp_path, records), tmp_path / "out", "same")


def test_what_cannot_be_written_back_is_refused() -> None:
    pairs = open_source([{"query": "q", "positive": "p"}])

    with pytest.raises(ConfigError, match="A release does not hold the records that came in"):
        OutputFormat("same").check()
    with pytest.raises(ConfigError, match=r"There is no output format 'csv'\. There are: same, flagembedding"):
        OutputFormat("csv").check()
    with pytest.raises(ConfigError, match="'pairs' came in without negatives"):
        OutputFormat("same", pairs).check()

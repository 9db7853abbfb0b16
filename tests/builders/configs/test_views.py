"""Views: what is drawn from a row, and what a build with views holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from hf_relabel.builders.configs.relabeled_builder import RelabeledBuilder
from hf_relabel.builders.configs.views import View, ViewKind, views_of
from hf_relabel.builders.configs.writing import BuildReport, write_configs
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique

ROW: dict[str, Any] = {
    "query_id": "1",
    "query": "a query",
    "positive_passages": [{"docid": "p0", "title": "Title", "text": "p0"}, {"docid": "p1", "title": "", "text": "p1"}],
    "negative_passages": [{"docid": f"n{place}", "title": "", "text": f"n{place}"} for place in range(3)],
    "subset": "",
}
POSITIVES, NEGATIVES = {"Title\np0", "p1"}, {"n0", "n1", "n2"}


def view(kind: str, negatives: int = 3, **settings: Any) -> View:
    return View(Technique.RELABEL, ViewKind(kind), negatives, **settings)


def judged(scores: bool = True) -> Iterator[tuple[NumberedRow, list[Verdict]]]:
    """Row n has n negatives, of which the first is false; the judge's scores are .9, .8, …"""
    for number in range(6):
        negatives = tuple(Passage(f"{number}-{place}", "", f"text {number} {place}") for place in range(number))
        row = Row(f"q{number}", f"query {number}", (Passage(f"p{number}", "", f"good {number}"),), negatives)
        verdicts = [
            Verdict(
                place,
                passage.docid,
                Outcome.NEGATIVE if place else Outcome.FALSE_NEGATIVE,
                "judged",
                (Judgement(Label.BETTER, score=(9 - place) / 10 if scores else None),),
            )
            for place, passage in enumerate(negatives)
        ]
        yield NumberedRow(number, row), verdicts


def built(folder: Path, *kinds: str, scores: bool = True, negatives: int = 3, **settings: Any) -> BuildReport:
    views = views_of(kinds, techniques=list(Technique), default="remove-hn", negatives=negatives)
    return write_configs(judged(scores), folder, stage_names=["one"], views=views, **settings)


def lines_of(folder: Path, config: str) -> list[dict[str, Any]]:
    return pq.read_table(folder / config).to_pylist()


def test_tuples_have_a_line_for_each_positive_and_all_negatives_drawn() -> None:
    lines = view("tuples").of_row(ROW).lines

    assert [list(line) for line in lines] == [["query", "positive", "negative_1", "negative_2", "negative_3"]] * 2
    assert {line["positive"] for line in lines} == POSITIVES
    assert all({line[f"negative_{place}"] for place in (1, 2, 3)} == NEGATIVES for line in lines)


def test_tuples_repeat_negatives_where_a_row_has_too_few_and_say_so() -> None:
    shown = view("tuples", 5).of_row(ROW)
    line = shown.lines[0]
    drawn = [line[f"negative_{place}"] for place in range(1, 6)]

    assert shown.repeats
    assert set(drawn[:3]) == NEGATIVES
    assert drawn[3:] == drawn[:2]
    assert not view("tuples", 3).of_row(ROW).repeats


@pytest.mark.parametrize("kind", list(ViewKind))
def test_a_draw_follows_from_the_row_alone(kind: str) -> None:
    scored = {side: [{**passage, "score": 0.5} for passage in ROW[side]] for side in ROW if side.endswith("passages")}
    row = {**ROW, **scored}

    assert view(kind, 2).of_row(row) == view(kind, 2).of_row(dict(row))
    others = [view(kind, 2).of_row({**row, "query_id": str(number)}) for number in range(9)]
    assert any(other != view(kind, 2).of_row(row) for other in others)


def test_triplets_show_each_positive_and_each_negative() -> None:
    lines = view("triplets").of_row(ROW).lines

    assert len(lines) == 3
    assert {line["positive"] for line in lines} == POSITIVES
    assert {line["negative"] for line in lines} == NEGATIVES
    assert len(view("triplets", 1).of_row(ROW).lines) == 2


def test_lists_label_positives_and_negatives() -> None:
    [line] = view("lists", 2).of_row(ROW).lines

    assert line["labels"] == [1.0, 1.0, 0.0, 0.0]
    assert set(line["docs"][:2]) == POSITIVES
    assert set(line["docs"][2:]) < NEGATIVES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"negative_passages": []}, "without_negatives"),
        ({"negative_passages": [ROW["positive_passages"][0]]}, "without_negatives"),
        ({"query": " "}, "without_text"),
        ({"positive_passages": [{"docid": "p", "title": "", "text": " "}]}, "without_text"),
    ],
)
def test_rows_without_a_line_say_why(change: dict[str, Any], reason: str) -> None:
    assert view("tuples").of_row({**ROW, **change}).left_out == reason


def test_a_build_has_its_views_as_configs(tmp_path: Path) -> None:
    report = built(tmp_path / "out", "tuples", "triplets", "lists", "scores")
    manifest = report.manifest

    tuples = lines_of(tmp_path / "out", "relabel-tuples")
    # Row 0 has no negative, row 1 none left after relabelling.
    assert [line["query"] for line in tuples] == [f"query {number}" for number in (2, 2, 3, 3, 4, 4, 5, 5)]
    assert manifest["views"]["relabel-tuples"] == {
        "rows_in": 6,
        "rows_out": 4,
        "rows_repeating": 2,
        "lines": 8,
        "left_out": {"without_negatives": 2, "without_scores": 0, "without_text": 0},
    }
    assert "relabel-tuples: 8 lines of 4 rows of relabel; 2 rows without negatives left out; 2 rows with fewer" in (
        report.to_text()
    )
    for name in ("tuples", "triplets", "lists", "scores"):
        loaded = datasets.load_dataset(
            str(tmp_path / "out"), f"relabel-{name}", split="train", cache_dir=str(tmp_path / "cache")
        )
        assert loaded.to_list() == lines_of(tmp_path / "out", f"relabel-{name}")
        assert len(loaded) == manifest["views"][f"relabel-{name}"]["lines"]


def test_the_judges_scores_are_those_of_its_last_word_and_the_sources_positives_count_as_1(tmp_path: Path) -> None:
    report = built(tmp_path / "out", "scores", negatives=1)

    by_positive = {line["positive"]: line["label"] for line in lines_of(tmp_path / "out", "relabel-scores")}
    assert by_positive["good 2"] == pytest.approx([1.0, 0.8])
    assert by_positive["text 2 0"] == pytest.approx([0.9, 0.8])
    assert report.manifest["settings"]["views"][0]["scores"] == "judge"


def test_the_sources_scores_come_first(tmp_path: Path) -> None:
    row = Row("1", "q", (Passage("p", "", "p", 7.0), Passage("u", "", "u")), (Passage("n", "", "n", 2.0),))
    chosen = views_of(["scores"], techniques=["original"], default="original", negatives=1, scored=True)
    write_configs(
        [(NumberedRow(0, row), [])],
        tmp_path / "out",
        techniques=[Technique.ORIGINAL],
        default_config="original",
        stage_names=["one"],
        scores=True,
        views=chosen,
    )

    lines = lines_of(tmp_path / "out", "original-scores")
    assert lines == [{"query": "q", "positive": "p", "negative_1": "n", "label": [7.0, 2.0]}]


def test_a_view_of_scores_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="relabel-scores would be empty: neither the source nor"):
        built(tmp_path / "out", "scores", scores=False)

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ["pairs"]}, "There is no view 'pairs'. There are: tuples, triplets, lists, scores."),
        ({"kinds": ["tuples"], "of": ["remove"]}, "A view of 'remove' needs that config"),
        ({"kinds": ["tuples"], "negatives": 0}, "at least one negative"),
    ],
)
def test_views_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        views_of(settings.pop("kinds"), techniques=["relabel"], default="relabel", **settings)


@pytest.mark.parametrize("techniques", [["original", "relabel"], ["original"]])
def test_views_are_of_relabel_or_else_of_the_default_config(techniques: Sequence[str]) -> None:
    [chosen] = views_of(["lists"], techniques=techniques, default="original")

    assert chosen.name == f"{techniques[-1]}-lists"


def test_the_same_inputs_give_the_same_bytes_however_rows_are_cut_into_groups(tmp_path: Path) -> None:
    first, again = (built(tmp_path / name, "tuples").manifest["files"] for name in ("one", "two"))
    built(tmp_path / "small", "tuples", row_group_bytes=60)

    assert first == again
    assert lines_of(tmp_path / "small", "relabel-tuples") == lines_of(tmp_path / "one", "relabel-tuples")


@pytest.mark.parametrize("kinds", [[], ["tuples"]], ids=["not built", "built"])
def test_relabeled_builder_makes_views(kinds: list[str], tmp_path: Path) -> None:
    expected = tmp_path / "expected"
    built(expected, "tuples")
    built(tmp_path / "out", *kinds)
    builder = RelabeledBuilder(
        config_name="relabel-tuples", configs_folder=tmp_path / "out", negatives=3, cache_dir=str(tmp_path / "cache")
    )

    builder.download_and_prepare()

    assert builder.as_dataset(split="train").to_list() == lines_of(expected, "relabel-tuples")


def test_a_build_without_views_drops_those_of_an_earlier_one(tmp_path: Path) -> None:
    built(tmp_path / "out", "tuples")
    built(tmp_path / "out")

    assert not (tmp_path / "out" / "relabel-tuples").exists()
    assert "relabel-tuples" not in datasets.get_dataset_config_names(str(tmp_path / "out"))

"""The whole job in one call, on a judge and an endpoint in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.cascade.fitting import LabelledScore, fit
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.errors import BuildError, ConfigError, JudgingStopped, SourceError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Outcome
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stages import Stage
from hf_relabel.hub_tools.relabeling import relabel
from tests.hub_tools.judging.test_judging import FAST, MemoryEndpoint, WordJudge, by_prefix


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    import datasets

    datasets.enable_progress_bars()  # other tests may have left them disabled
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    assert datasets.is_progress_bar_enabled(), "a call leaves the bars of datasets as they were"


def rows(*texts: list[str]) -> list[dict[str, Any]]:
    return [
        {"query": f"query {number}", "pos": [f"positive {number}"], "neg": some} for number, some in enumerate(texts)
    ]


ROWS = rows(["better: a", "worse: b"], ["irrelevant: c"], ["better: d", "irrelevant: e"])


def texts(passages: list[dict[str, Any]]) -> list[str]:
    return [passage["text"] for passage in passages]


def test_a_data_set_goes_in_and_a_dict_of_data_sets_comes_out(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    endpoint = MemoryEndpoint(by_prefix)
    found = relabel(ROWS, endpoint, judge=WordJudge())
    assert list(found) == ["relabel", "verdicts"]
    first, second, _ = found["relabel"]
    assert texts(first["positive_passages"]) == ["positive 0", "better: a"]
    assert texts(first["negative_passages"]) == ["worse: b"]
    assert texts(second["negative_passages"]) == ["irrelevant: c"]
    outcomes = [line["outcome"] for line in found["verdicts"]]
    assert outcomes == ["false_negative", "doubtful", "negative", "false_negative", "negative"]
    told = capsys.readouterr()
    assert told.err == ""
    (line,) = told.out.splitlines()
    assert line.startswith(
        "3 rows, 2 of them with false negatives. Of 5 negatives 2 false, 0 copies of a positive, 0 not judged"
    )
    assert line.endswith(f"{next((home / 'hf-relabel' / 'journals').glob('*.sqlite'))}")


def test_the_same_call_and_another_technique_ask_nothing(home: Path) -> None:
    asked, again = MemoryEndpoint(by_prefix), MemoryEndpoint(by_prefix)
    relabel(ROWS, asked, judge=WordJudge(), verbose=False)
    found = relabel(ROWS, again, judge=WordJudge(), technique=["remove-hn", "relabel-filter"], verbose=False)
    assert (len(asked.asked), len(again.asked)) == (5, 0)
    assert list(found) == ["remove-hn", "relabel-filter", "verdicts"]
    assert texts(found["remove-hn"][0]["negative_passages"]) == ["worse: b"]
    assert texts(found["relabel-filter"][0]["negative_passages"]) == []
    folders = [path for path in (home / "hf-relabel" / "configs").iterdir() if not path.name.startswith(".")]
    assert len(folders) == 2, "one for each result, and nothing that was left over"
    relabel(ROWS, again, judge=WordJudge(), verbose=False)
    assert {path for path in (home / "hf-relabel" / "configs").iterdir() if not path.name.startswith(".")} == {*folders}


def test_views_come_along(home: Path) -> None:
    ask = {"judge": WordJudge(), "verbose": False}
    found = relabel(ROWS, MemoryEndpoint(by_prefix), views=["tuples", "lists"], **ask)
    assert list(found) == ["relabel", "relabel-tuples", "relabel-lists", "verdicts"]
    assert found["relabel-lists"].column_names == ["query", "docs", "labels"]
    again = MemoryEndpoint(by_prefix)
    assert "relabel-triplets" in relabel(ROWS, again, views="triplets", **ask)
    with pytest.raises(ConfigError, match="views"):
        relabel(ROWS, again, views="tripels", **ask)
    assert not again.asked


def test_it_works_in_a_notebook_and_takes_a_datasets_dataset() -> None:
    import datasets

    async def cell() -> Any:
        data = datasets.Dataset.from_list(ROWS)
        return relabel(data, MemoryEndpoint(by_prefix), judge=WordJudge(), technique=None, limit=2, verbose=False)

    found = asyncio.run(cell())
    assert {name: len(rows) for name, rows in found.items()} == {
        "original": 2, "remove": 1, "remove-hn": 2, "relabel": 2, "relabel-filter": 2, "verdicts": 3,
    }  # fmt: skip


def test_after_a_stop_the_same_call_goes_on() -> None:
    class Tired(MemoryEndpoint):
        async def complete(self, request: Any) -> Any:
            if len(self.asked) == 2:
                await asyncio.sleep(60)
            return await super().complete(request)

    tired, rested = Tired(by_prefix), MemoryEndpoint(by_prefix)
    limits = Limits(concurrency=1, deadline=0.3, grace=0.01)
    with pytest.raises(JudgingStopped, match=r"the same call continues"):
        relabel(ROWS, tired, judge=WordJudge(), limits=limits, verbose=False)
    found = relabel(ROWS, rested, judge=WordJudge(), verbose=False)
    assert len(tired.asked) + len(rested.asked) == 5
    assert len(found["relabel"]) == 3


def test_a_folder_of_the_callers_is_written_as_well(tmp_path: Path) -> None:
    import datasets

    endpoint, folder = MemoryEndpoint(by_prefix), tmp_path / "cleaned"
    relabel(ROWS, endpoint, judge=WordJudge(), out=folder, verbose=False)
    options = {"judge": WordJudge(), "out": folder, "technique": None, "verbose": False}
    with pytest.raises(BuildError, match="of other rows"):
        relabel(ROWS[:2], endpoint, **options)
    found = relabel(ROWS[:2], endpoint, **options, overwrite=True)
    assert len(found["relabel"]) == 2
    assert (folder / "manifest.json").is_file()
    loaded = datasets.load_dataset(str(folder), "remove", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 1


def test_the_kind_of_a_judge_and_its_model_are_enough(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    truth.write_text('{"query_id": "q0", "false_negatives": ["d1"]}\n')
    with pytest.raises(ConfigError, match="model: nobody here takes the name"):
        relabel(ROWS, judge="truth", model="some/model")
    with pytest.raises(ConfigError, match="no judge of kind"):
        relabel(ROWS, judge="simlarity")


def test_no_result_where_little_was_judged(home: Path, tmp_path: Path) -> None:
    half = MemoryEndpoint(lambda text: by_prefix(text) if "better" in text else "no word at all")
    with pytest.raises(
        BuildError, match=r"Only 2 of 5 candidates were judged by run 1 .*: 0 failed, 3 unparsable, 0 not reached;"
    ):
        relabel(ROWS, half, judge=WordJudge(), out=tmp_path / "cleaned")
    assert not (tmp_path / "cleaned").exists()
    with pytest.raises(BuildError, match="Only 2 of 5"):
        relabel(ROWS, half, judge=WordJudge())
    assert not [path for path in (home / "hf-relabel" / "configs").iterdir() if (path / "manifest.json").exists()]
    found = relabel(ROWS, half, judge=WordJudge(), min_judged=0, verbose=False)
    assert texts(found["relabel"][2]["positive_passages"]) == ["positive 2", "better: d"]
    found = relabel(ROWS, MemoryEndpoint(by_prefix), judge=WordJudge(), retry_failed=True, verbose=False)
    assert len(found["relabel"]) == 3


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (rows([], []), {}, BuildError, "nothing to judge: no row has a negative"),
        (ROWS, {"endpoint": None, "judge": None}, ConfigError, "Say who judges"),
        (ROWS, {"technique": "relable"}, ConfigError, "no technique 'relable'"),
        (ROWS, {"technique": []}, ConfigError, "name at least one"),
        (ROWS, {"technique": 3}, ConfigError, "technique: expected"),
        (ROWS, {"min_judged": 2}, ConfigError, "min_judged: expected a share"),
        (ROWS, {"calibration": "nowhere.json"}, ConfigError, "nowhere.json"),
        (ROWS, {"max_false_negatives": -1}, ConfigError, "limit"),
        (ROWS, {"relevant_from": float("nan")}, ConfigError, "relevant_from: expected a finite number, found nan"),
        (ROWS, {"journal": "missing/journal.sqlite"}, ConfigError, "there is no folder missing for the journal"),
        (ROWS, {"journal": 3}, ConfigError, "A journal is"),
        (7, {}, SourceError, "cannot be read as rows"),
    ],
)
def test_what_cannot_be_is_said(data: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    endpoint = MemoryEndpoint(by_prefix)
    given = {"endpoint": endpoint, "judge": WordJudge(), **options}
    with pytest.raises(error, match=message):
        relabel(data, **given)
    assert not endpoint.asked, "before anything is paid for"


def test_thresholds_of_another_judge_are_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    with Journal(tmp_path / "other.sqlite") as journal:
        judge(open_source(ROWS), Stage("words", WordJudge(), Rule(), (MemoryEndpoint(by_prefix),), FAST), journal)
        run = journal.last_run()
    other = [{**run["stages"][0], "judge": {**run["stages"][0]["judge"], "model": "another"}}]
    labelled = [LabelledScore(n / 20, n > 9, 1.0) for n in range(20)]
    for stages, asked in ((other, False), (run["stages"], True)):
        fit(labelled, precision=0.5).model_copy(update={"stages": tuple(stages)}).write(tmp_path / "thresholds.json")
        endpoint = MemoryEndpoint(by_prefix)
        given = {"judge": WordJudge(), "calibration": tmp_path / "thresholds.json", "verbose": False}
        if asked:
            assert list(found := relabel(ROWS, endpoint, **given)) == ["relabel-filter", "verdicts"]
            assert list(relabel(ROWS, endpoint, technique="zones", **given)) == ["relabel-filter", "verdicts"]
            assert len(found["relabel-filter"]) == 3
        else:
            with pytest.raises(ConfigError, match="The thresholds of the calibration were fitted on the scores of"):
                relabel(ROWS, endpoint, **given)
        assert bool(endpoint.asked) is asked


def test_options_are_not_for_a_source_that_is_open() -> None:
    source = open_source(ROWS)
    stage = Stage("words", WordJudge(), Rule(), (MemoryEndpoint(by_prefix),), FAST)
    assert len(relabel(source, judge=stage, verbose=False)["relabel"]) == 3
    with pytest.raises(ConfigError, match="limit: the source is open already"):
        relabel(source, judge=stage, limit=1)
    with pytest.raises(ConfigError, match="relevant_from: the source is open already"):
        relabel(source, judge=stage, relevant_from=0.0)


def test_rows_that_a_truth_file_lacks_stay_unjudged(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"query_id": str(n), **row}) + "\n" for n, row in enumerate(ROWS))
    )
    source = open_source(tmp_path / "rows.jsonl")
    (tmp_path / "truth.jsonl").write_text('{"query_id": "1", "false_negatives": []}\n')
    with Journal(tmp_path / "journal.sqlite") as journal:
        [report] = judge(source, TruthJudge(str(tmp_path / "truth.jsonl")), journal, progress=False)
        found = [verdict for _, of_row in verdicts(source, journal) for verdict in of_row]
    assert (report.asked, report.to_dict()["labels"]["failed"], report.exempt) == (5, 4, 0)
    unjudged = (Outcome.UNJUDGED, "unknown")
    assert [(each.outcome, each.reason) for each in found] == [
        *[unjudged] * 2,
        (Outcome.NEGATIVE, "judged"),
        *[unjudged] * 2,
    ]


@pytest.mark.parametrize("place", ["configs", "loaded"])
def test_a_damaged_cache_is_made_anew(place: str, home: Path) -> None:
    def found() -> list[str]:
        return [
            line["outcome"]
            for line in relabel(ROWS, MemoryEndpoint(by_prefix), judge=WordJudge(), verbose=False)["verdicts"]
        ]

    first = found()
    endings = (".parquet", "README.md") if place == "configs" else (".arrow", "dataset_info.json")
    for ending in endings:
        kept = [path for path in (home / "hf-relabel" / place).rglob("*") if path.name.endswith(ending)]
        assert kept
        for path in kept:
            path.unlink()
        assert found() == first


def test_a_misspelt_judge_is_answered_before_its_model() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'similarity'"):
        relabel([], judge="simlarity", model="x")


def told(tmp_path: Path, number: int, false: tuple[str, ...] = ()) -> tuple[dict[str, Any], TruthJudge]:
    """A row with a negative, and a judge who knows whether that is a false one."""
    row = {"query_id": f"q{number}", "query": f"query {number}", "subset": ""} | {
        side: [{"docid": side[:3], "text": f"{side} {number}"}] for side in ("positive_passages", "negative_passages")
    }
    truth = tmp_path / f"truth-{number}.jsonl"
    truth.write_text(json.dumps({"query_id": f"q{number}", "false_negatives": list(false)}) + "\n")
    return row, TruthJudge(str(truth))


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """`datasets` takes a local folder for another one with the same last name, and an earlier build for a later one."""
    quiet = {"progress": False, "verbose": False}
    found = []
    for number in range(2):
        row, judge = told(tmp_path, number)
        out = tmp_path / str(number) / "cleaned"
        found.append(relabel([row], judge=judge, out=out, **quiet)["relabel"]["query"][:])
    assert found == [["query 0"], ["query 1"]]
    row, judge = told(tmp_path, 2, ("neg",))
    kept = [
        relabel([row], judge=judge, out=tmp_path / "again", max_false_negatives=most, **quiet)["relabel"].num_rows
        for most in (7, 0)
    ]
    assert kept == [1, 0]


def test_a_technique_that_keeps_no_row_gives_a_set_of_none(tmp_path: Path) -> None:
    row, judge = told(tmp_path, 0, ("neg",))
    found = relabel([row], technique="remove", judge=judge, progress=False, verbose=False)
    assert found["remove"].num_rows == 0
    assert "negative_passages" in found["remove"].column_names


def test_a_folder_that_cannot_be_used_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x").write_text("x")
    for out, message in ((tmp_path / "theirs", "did not write it"), (tmp_path / "theirs" / "x", "is a file")):
        with pytest.raises(BuildError, match=message):
            relabel(rows(["a", "b", "c"]), endpoint="http://127.0.0.1:1", out=out, progress=False)

"""Job files: what they hold, how parameters fill them, and what is said when they are wrong."""

from __future__ import annotations

import json
import re
import resource
import signal
from pathlib import Path

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.reading import load_job, parse_job, shipped_job_files
from hf_relabel.builders.job.writing import new_job, write_new_job
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.hub_tools.commands import run

MINIMAL = """
parameters: {url: "http://127.0.0.1:8080", attempts: 3}
source: {location: train.jsonl, subset: nq}
stages:
  - judge: {kind: listwise}
    endpoints: [{url: "${url}"}]
    limits: {max_attempts: "${attempts}"}
"""


def test_a_parameter_fills_its_place_and_the_command_line_wins() -> None:
    assert parse_job(MINIMAL).stages[0].endpoints[0].url == "http://127.0.0.1:8080"
    job = parse_job(MINIMAL, {"url": "http://gpu:80"})
    assert job.stages[0].endpoints[0].url == "http://gpu:80"
    assert job.stages[0].limits.max_attempts == 3
    assert job.source.subset == ("nq",)
    assert job.stage_names() == ["stage-1"]


def test_a_parameter_value_never_becomes_structure() -> None:
    job = parse_job(MINIMAL, {"url": '", token_env: HOME, x: "'})
    assert job.stages[0].endpoints[0].url == '", token_env: HOME, x: "'
    assert job.stages[0].endpoints[0].token_env is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("just text", "holds no settings"),
        (MINIMAL + "buld: {}\n", "line 8: `buld`: there is no such setting. Did you mean 'build'?"),
        (MINIMAL.replace("kind: listwise", "name: x"), "line 5: `stages[0].judge`: needs a `kind`"),
        (MINIMAL.replace("kind: listwise", "kind: lstwise"), "no judge of kind 'lstwise'. Did you mean 'listwise'?"),
        (
            MINIMAL.replace("listwise", "listwise, sed: 1"),
            "judge has no setting 'sed'. Did you mean 'seed'?",
        ),
        (MINIMAL.replace("listwise", "listwise, seed: x"), "seed: expected a whole number"),
        (
            MINIMAL.replace("kind: listwise", "kind: student"),
            "needs `model=`, the folder that",
        ),
        (MINIMAL.replace("location: train.jsonl, ", ""), "line 3: `source.location` is missing"),
        (MINIMAL.replace("train.jsonl,", "a, format: beer,"), "no format 'beer'. Did you mean 'beir'?"),
        (MINIMAL.replace("train.jsonl,", "a, sample: lots,"), "'lots' is no sample"),
        (MINIMAL.replace("subset: nq", "subset: nq, subset: fever"), "`subset` is given twice"),
        (MINIMAL.replace('"http://127.0.0.1:8080"', "null"), "line 6: Needs the parameter 'url'"),
        (MINIMAL.replace("judge:", "escalate: never\n    judge:"), "should be 'candidate' or 'row', not 'never'"),
        (MINIMAL + "build: {out: x, techniques: [relable]}\n", "no technique 'relable'. Did you mean 'relabel'?"),
        (
            MINIMAL + "build: {out: x, techniques: [relabel], default: remove}\n",
            "'remove' is not among those built: relabel. Name one that is, such as `default=\"relabel\"`",
        ),
        (MINIMAL + "push_model: {repo: a/b}\n", "`push_model` needs `train`."),
        (
            MINIMAL + 'build: {out: ""}\n',
            "`build.out`: the name is empty. Name a folder; the one you are in is called '.'",
        ),
        (MINIMAL + 'audit: {out: " "}\n', "`audit.out`: the name is empty"),
        (MINIMAL + "build: {out: x, min_judged: .nan}\n", "`build.min_judged`: "),
        (MINIMAL.replace("train.jsonl,", "a, relevant_from: .nan,"), "`source.relevant_from`: "),
        (MINIMAL.replace('attempts}"', 'attempts}", max_cost: .inf'), "`stages[0].limits.max_cost`: "),
        (MINIMAL + "compare: {eval: [x], runs: ''}\nbuild: {out: x}\n", "`compare.runs`: the name is empty"),
        ("source: {location: a}\nstages: []\n", "`stages`: at least one is needed"),
    ],
)
def test_a_wrong_job_file_says_where_and_what(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as refused:
        parse_job(text)
    assert "mistakes" not in str(refused.value), "one fault is one mistake"


def test_every_mistake_of_a_file_is_shown_at_once_in_its_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        """parameters: {url: null}
source: {locaton: x}
stages:
  - judge: {kind: listwise, temprature: 3, sed: 1}
    endpoints: "${url}"
    limits: {max_atempts: 3, concurrency: 0}
comapre: {eval: a}
train: {out: model}
"""
    )
    assert run(["run", str(file), "--set", "ulr=x"]) == 2
    first, *lines = capsys.readouterr().err.rstrip().split("\n")
    assert first == f"Error: {file} has 10 mistakes:"
    expected = [
        ("1", "no parameter 'ulr'. Did you mean 'url'?"),
        ("2", "`source.location` is missing"),
        ("2", "Did you mean 'location'?"),
        ("4", "Did you mean 'seed'?"),
        ("4", "Did you mean 'temperature'?"),
        ("5", "Needs the parameter 'url'"),
        ("6", "greater than or equal to 1, not 0"),
        ("6", "Did you mean 'max_attempts'?"),
        ("7", "Did you mean 'compare'?"),
        ("8", "`train` needs `build` or `push`"),
    ]
    assert len(lines) == len(expected)
    for line, (number, words) in zip(lines, expected, strict=True):
        assert line.startswith(f"  line {number}: ")
        assert words in line


def test_short_forms_stand_for_the_long_ones() -> None:
    short = parse_job("source: train.jsonl\nstages: [{judge: listwise, endpoints: [http://a, http://b]}]\n")
    assert short.source.location == "train.jsonl"
    assert short.stages[0].judge == {"kind": "listwise"}
    assert [endpoint.url for endpoint in short.stages[0].endpoints] == ["http://a", "http://b"]
    assert parse_job("source: a\nstages: [{judge: listwise, endpoints: http://a}]\n").stages[0].endpoints[0].url
    assert parse_job("source: {location: a, sample: 500}\nstages: [{judge: similarity}]\n").source.sample == "500"


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ConfigError, match="no parameter 'uri'"):
        parse_job(MINIMAL, {"uri": "x"})


def test_the_ready_job_files_cover_the_paper() -> None:
    seven = {"msmarco", "hotpotqa", "nq", "fever", "scidocsrr", "fiqa", "arguana"}
    assert {f"rlhn-{name}" for name in seven} | {"rlhn-two-stage"} == set(shipped_job_files())
    for name in shipped_job_files():
        assert load_job(name).build is not None
    two_stage = load_job("rlhn-two-stage", {"stage1_url": "http://cheap", "stage2_url": "http://accurate"})
    assert [stage.endpoints[0].url for stage in two_stage.stages] == ["http://cheap", "http://accurate"]
    assert two_stage.stages[0].escalate == "row"


def test_a_job_file_that_is_missing_is_named_with_the_ready_ones() -> None:
    with pytest.raises(ConfigError, match="rlhn-fever"):
        load_job("no-such-file")


def test_a_new_job_file_is_a_job_as_it_is_and_with_every_step_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    write_new_job(path, "train.jsonl", {"kind": "listwise"}, ["http://127.0.0.1:8080"])
    job = load_job(path)
    assert (job.source.location, job.journal, job.stages[0].judge) == (
        "train.jsonl", "journal.sqlite", {"kind": "listwise"},
    )  # fmt: skip
    assert [endpoint.url for endpoint in job.stages[0].endpoints] == ["http://127.0.0.1:8080"]
    assert job.build is not None
    text = path.read_text()
    assert f"All settings: {program()} run --settings" in text
    assert "pages/" not in text, "a page of the clone, which an installed package lacks"
    everything = parse_job(re.sub(r"^( *)# (\w+: )", r"\1\2", text, flags=re.MULTILINE))
    assert {name for name in Job.model_fields if getattr(everything, name) is None} == set()
    assert everything.source.subset == ("nq", "fever")
    assert everything.stages[0].limits.max_cost == 20


def test_a_new_job_file_of_an_offline_judge_has_no_endpoint() -> None:
    text = new_job("user/repo@v1.0.0", {"kind": "similarity", "model": "a/b", "better": 0.8, "worse": 0.5})
    job = parse_job(text)
    assert job.stages[0].judge == {"kind": "similarity", "model": "a/b", "better": 0.8, "worse": 0.5}
    assert job.stages[0].endpoints == ()
    assert job.journal == "journal.sqlite"  # as `judge` has it
    assert "limits" not in text


@pytest.mark.parametrize(
    "source", ["yes", "1e3", "# none", "a: b", "a\nb: c", '"', "'x'", "{a: b}", "été/データ", "- x", "\x85\u2028", ""]
)
def test_what_is_given_never_becomes_structure_of_a_new_job_file(source: str) -> None:
    made = parse_job(new_job(source, {"kind": "listwise"}, [{"url": source, "model": source}], name=source))
    assert made.source.location == source
    assert made.stages[0].endpoints[0].url == source
    assert len(made.stages[0].endpoints) == 1


def test_a_job_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        write_new_job(path, "a", {"kind": "listwise"}, ["http://a"])
    assert path.read_text() == "mine"
    with pytest.raises(ConfigError, match="Did you mean 'listwise'"):
        write_new_job(tmp_path / "new.yaml", "a", {"kind": "lstwise"}, ["http://a"])
    assert not (tmp_path / "new.yaml").exists()


def test_a_job_file_that_cannot_be_written_to_its_end_leaves_none(tmp_path: Path) -> None:
    def write() -> None:
        write_new_job(tmp_path / "job.yaml", "a", {"kind": "listwise"}, ["http://a"])

    # A limit on the size of files stands in for a full disk.
    limits, earlier = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"job.yaml cannot be written: File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, earlier)
    assert list(tmp_path.iterdir()) == []
    write()
    assert list(tmp_path.iterdir()) == [tmp_path / "job.yaml"]


def test_the_command_writes_a_job_that_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_bytes(rows_path().read_bytes())
    assert run(["run", "--new", "job.yaml", "rows.jsonl", "--judge", "truth"]) == 2
    assert capsys.readouterr().err == "Error: --judge truth needs --truth FILE.\n"
    assert run(["run", "--new", "job.yaml", "rows.jsonl", "--judge", "truht"]) == 2
    assert capsys.readouterr().err == "Error: There is no judge of kind 'truht'. Did you mean 'truth'?\n"
    assert run(["run", "--new", "job.yaml", "rows.jsonl", "--truth", "nowhere"]) == 2
    assert "no truth file nowhere" in capsys.readouterr().err
    assert run(["run", "--new", "known.yaml", "rows.jsonl", "--truth", str(truth_path())]) == 0
    assert parse_job((tmp_path / "known.yaml").read_text()).stages[0].judge["file"] == str(truth_path())
    assert run(["run", "known.yml"]) == 2
    assert "Did you mean 'known.yaml'?" in capsys.readouterr().err
    capsys.readouterr()
    assert run(["run", "--new", "job.yaml", "rows.jsonl", "--endpoint", "http://127.0.0.1:9"]) == 0
    assert "hf-relabel run job.yaml --plan" in capsys.readouterr().out
    assert run(["run", "job.yaml", "--endpoint", "http://a"]) == 2
    assert "are for --new FILE" in capsys.readouterr().err
    text = (tmp_path / "job.yaml").read_text()
    judge = f"      kind: truth\n      file: {truth_path()}\n"
    (tmp_path / "job.yaml").write_text(re.sub(r" +kind: listwise\n(?: +(endpoints|- url).*\n)+", judge, text))
    assert run(["run", "job.yaml"]) == 0
    assert (tmp_path / "cleaned" / "manifest.json").is_file()


def test_the_command_shows_all_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "--settings"]) == 0
    shown = capsys.readouterr().out
    assert all(f"`{name}`" in shown for name in Job.model_fields)


def test_a_new_job_file_is_for_a_source_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = {"id": "7", "query": "why is it", "response": "it is so", "negative": "it is not"}
    (tmp_path / "odd.jsonl").write_text(json.dumps(line) + "\n")
    new = ["run", "--new", "job.yaml", "--judge", "similarity"]
    assert run([*new, "missing.jsonl"]) == 2
    assert "neither an existing file" in capsys.readouterr().err
    assert run([*new, "odd.jsonl"]) == 2
    assert "positive" in capsys.readouterr().err
    assert not (tmp_path / "job.yaml").exists()
    assert run([*new, "odd.jsonl", "--column", "positive=response"]) == 0
    made = parse_job((tmp_path / "job.yaml").read_text())
    assert made.source.columns == {"positive": ("response",)}
    assert run([*new, "user/on-the-hub"]) == 2, "it is there already"
    (tmp_path / "job.yaml").unlink()
    assert run([*new, "user/on-the-hub"]) == 0


@pytest.mark.parametrize("name", ["yes", "a, b", "]", "# x", "a: b", '"', "\x85"])
def test_columns_of_a_new_job_file_are_names_whatever_they_hold(name: str) -> None:
    columns = {"positive": [name], "negative": [f"{name} ", "n"]}
    made = parse_job(new_job("a", {"kind": "listwise"}, ["http://a"], columns))
    assert made.source.columns == {"positive": (name,), "negative": (f"{name} ", "n")}


def test_a_misspelt_job_file_is_answered_with_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("source: rows.jsonl")
    with pytest.raises(ConfigError, match=r"There is no job file .*job\.yml.*Did you mean 'job.yaml'\?"):
        load_job(tmp_path / "job.yml")

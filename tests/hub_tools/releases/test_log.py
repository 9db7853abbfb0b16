"""`hf relabel log`: the versions of a release, read by the real client from the local Hub."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hf_relabel.builders.configs.manifest import manifest_text
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.releases.log import FactChange, ReleaseVersion, fact_changes, log, manifest_facts
from tests import forked
from tests.hub_tools.release_clients import COMMAND_LINE

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def manifest(
    folder: Path, *outcomes: Outcome, model: str = "small", passes: str = "better", **settings: Any
) -> dict[str, Any]:
    """The manifest of a release with one row for each outcome."""
    rows = []
    for number, outcome in enumerate(outcomes):
        row = Row(f"q{number}", "query", (Passage("p", "", "yes"),), (Passage("n", "", "no"),))
        rows.append((NumberedRow(number, row), [Verdict(0, "n", outcome, "judged", (Judgement(Label.BETTER),))]))
    judge = {"kind": "listwise", "model": model, "revision": None, "settings": {"prompt": "v1", "template": "t" * 500}}
    stage = {"name": "only", "escalate": "candidate", "passes": [passes], "judge": judge}
    source = {"name": "user/source", "revision": "a" * 40, "fingerprint": "f"}
    extra = {"run": {"stages": [stage]}, "source": source}
    return dict(write_configs(rows, folder, stage_names=["only"], manifest_extra=extra, **settings).manifest)


FALSE_NEGATIVE, NEGATIVE = Outcome.FALSE_NEGATIVE, Outcome.NEGATIVE


def test_facts_are_plain_values(tmp_path: Path) -> None:
    facts = manifest_facts(manifest(tmp_path / "one", FALSE_NEGATIVE, Outcome.DUPLICATE, NEGATIVE))

    assert facts.pop("template of only").startswith("ttt")  # type: ignore[union-attr]
    assert facts.pop("hf-relabel")
    assert facts == {
        "rows": 3,
        "candidates": 3,
        "false negatives": 2,
        "doubtful": 0,
        "unjudged": 0,
        "default config": "remove-hn",
        "limit": 7,
        "rows of original": 3,
        "rows of remove": 1,
        "rows of remove-hn": 3,
        "rows of relabel": 3,
        "rows of relabel-filter": 3,
        "judge of only": "listwise small",
        "rule of only": "candidate, passes better",
        "prompt of only": "v1",
        "source name": "user/source",
        "source revision": "a" * 40,
        "source config": None,
        "source split": None,
        "source fingerprint": "f",
        "evidence": "unaudited",
    }


def test_changes_are_the_facts_that_differ(tmp_path: Path) -> None:
    before = manifest_facts(manifest(tmp_path / "one", FALSE_NEGATIVE, NEGATIVE))
    techniques = ["original", "relabel"]
    settings = {"techniques": techniques, "default_config": "relabel", "limit": 3}
    after = manifest_facts(manifest(tmp_path / "two", NEGATIVE, NEGATIVE, model="large", passes="worse", **settings))

    assert fact_changes(before, before) == []
    assert fact_changes(before, after) == [
        FactChange("false negatives", 1, 0),
        FactChange("default config", "remove-hn", "relabel"),
        FactChange("limit", 7, 3),
        FactChange("judge of only", "listwise small", "listwise large"),
        FactChange("rule of only", "candidate, passes better", "candidate, passes worse"),
        FactChange("rows of remove", 1, None),
        FactChange("rows of remove-hn", 2, None),
        FactChange("rows of relabel-filter", 2, None),
    ]


def test_long_settings_are_told_apart_by_a_digest(tmp_path: Path) -> None:
    first = manifest(tmp_path / "one", NEGATIVE)
    second = json.loads(json.dumps(first))
    second["run"]["stages"][0]["judge"]["settings"]["template"] += "!"

    (change,) = fact_changes(manifest_facts(first), manifest_facts(second))

    assert change.what == "template of only"
    assert len(str(change.after)) < 150


@pytest.mark.parametrize("broken", [None, [], {}, {"settings": 1}, "text"])
def test_what_is_no_manifest_has_no_facts(broken: Any) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError, ValueError)):
        manifest_facts(broken)


def test_a_message_cannot_steer_the_terminal() -> None:
    version = ReleaseVersion("v1.0.0", "a" * 40, None, "\x1b[2Jboo\nsecond line", None)

    assert version.to_text().splitlines()[0] == "v1.0.0  aaaaaaaaaaaa    ?[2Jboo second line"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """`user/release`: v1.0.0, v1.10.0 with more rows, v1.9.0 from another judge, and a head without a version."""
    folders = iter(range(99))
    temporary = tmp_path_factory.mktemp("manifests")

    def told(*outcomes: Outcome, **options: Any) -> bytes:
        return manifest_text(manifest(temporary / str(next(folders)), *outcomes, **options))

    with LocalHub(tmp_path_factory.mktemp("hub")) as hub:
        api = HfApi(endpoint=hub.url, token=hub.token)

        def commit(repo: str, content: bytes, message: str, tag: str | None = None) -> None:
            add = CommitOperationAdd("manifest.json", content)
            api.create_commit(repo, [add], commit_message=message, repo_type="dataset")
            if tag is not None:
                api.create_tag(repo, tag=tag, repo_type="dataset")

        for name in ("user/release", "user/broken", "user/empty"):
            api.create_repo(name, repo_type="dataset")
        commit("user/release", told(NEGATIVE), "First release", "v1.0.0")
        commit("user/release", told(FALSE_NEGATIVE, model="large"), "A better judge", "v1.9.0")
        commit("user/release", told(FALSE_NEGATIVE, NEGATIVE, model="large"), "More rows", "v1.10.0")
        api.create_tag("user/release", tag="paper", repo_type="dataset")
        commit("user/broken", b"{}", "Not ours", "v0.1.0")
        commit("user/broken", told(NEGATIVE), "Head without a version")
        yield hub


@pytest.fixture(scope="module")
def command(hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Run:
    home = tmp_path_factory.mktemp("home")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": hub.token}
        return forked.run(COMMAND_LINE, "log", *arguments, env=environment)

    return command


def read(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    versions: list[dict[str, Any]] = json.loads(done.stdout)
    return versions


def test_versions_come_newest_first_with_what_changed(command: Run) -> None:
    newest, middle, first = read(command("user/release", "--json"))

    assert [newest["version"], middle["version"], first["version"]] == ["v1.10.0", "v1.9.0", "v1.0.0"]
    assert [newest["message"], newest["previous"], first["previous"]] == ["More rows", "v1.9.0", None]
    assert (newest["facts"]["rows"], newest["facts"]["false negatives"]) == (2, 1)
    assert {"what": "rows", "before": 1, "after": 2} in newest["changes"]
    assert {"what": "judge of only", "before": "listwise small", "after": "listwise large"} in middle["changes"]
    assert not any(change["what"].startswith("judge") for change in newest["changes"])
    assert first["changes"] is None
    assert newest["date"] > "2020"
    assert len(newest["revision"]) == 40


def test_only_so_many_versions(command: Run) -> None:
    (newest,) = read(command("user/release", "--json", "-n", "1"))

    assert (newest["version"], newest["previous"]) == ("v1.10.0", "v1.9.0")


def test_as_text(command: Run) -> None:
    done = command("user/release")

    assert done.returncode == 0, done.stderr
    newest, middle, first = done.stdout.rstrip().split("\n\n")
    assert newest.splitlines()[0].split() == ["v1.10.0", *newest.split()[1:3], "More", "rows"]
    assert "  2 rows, 1 false negative among 2 candidates, default config remove-hn" in newest
    assert "  judges: only: listwise large" in newest
    assert "  since v1.9.0: rows 1 → 2;" in newest
    assert "judge of only listwise small → listwise large" in middle
    assert "since" not in first


def test_a_head_without_a_version_and_a_version_without_a_manifest(command: Run) -> None:
    head, broken = read(command("user/broken", "--json"))

    assert (head["version"], head["previous"], head["changes"]) == (None, "v0.1.0", None)
    assert head["facts"]["rows"] == 1
    assert (broken["version"], broken["facts"]) == ("v0.1.0", None)
    assert "not released by hf-relabel" in command("user/broken").stdout
    assert "(no version)" in command("user/empty").stdout


def test_what_cannot_be_listed_is_said(command: Run) -> None:
    done = command("user/nothing")

    assert (done.returncode, "user/nothing" in done.stderr) == (7, True)
    for location in ("user/release@v1.0.0", "./folder", "user/release:relabel"):
        with pytest.raises(ConfigError, match="Give user/repo"):
            log(location)


def test_digests_are_shortened_for_people_only() -> None:
    facts = {"rows": 1, "candidates": 1, "false negatives": 0, "default config": "relabel"}
    facts |= {"judge of only": f"truth truth.jsonl@{'ab' * 32}", "source fingerprint": "cd" * 32}
    change = FactChange("source fingerprint", "ef" * 32, "cd" * 32)
    version = ReleaseVersion("v1.1.0", "a" * 40, None, "Release", facts, "v1.0.0", [change])
    text = version.to_text()
    assert f"only: truth truth.jsonl@{'ab' * 6}\n" in text
    assert text.endswith(f"source fingerprint {'ef' * 6} → {'cd' * 6}")
    assert version.to_dict()["changes"][0]["after"] == "cd" * 32

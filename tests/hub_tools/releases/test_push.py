"""Releases pushed to the local Hub by the real clients, and loaded back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.configs.views import views_of
from hf_relabel.builders.quickstart import rows_path, truth_path
from hf_relabel.builders.techniques import Technique
from hf_relabel.hub_tools.local_hub import LocalHub
from tests.hub_tools.release_clients import COMMAND_LINE, Client, empty, hub_and_client, offline_client
from tests.hub_tools.releases_data import built

REPO = "user/set-relabeled"

LOAD = """
import json, sys
import datasets
repo, tag, streaming = sys.argv[1], sys.argv[2], sys.argv[3] == "streaming"
found = {}
for name in sys.argv[4:] or datasets.get_dataset_config_names(repo, revision=tag):
    found[name] = list(datasets.load_dataset(repo, name, split="train", revision=tag, streaming=streaming))
print(json.dumps(found))
"""
LOAD_FOLDER = LOAD.replace(", revision=tag", "")
API = """
import json, sys
from huggingface_hub import HfApi
api = HfApi()
print(json.dumps((lambda: {expression})(), default=str))
"""


def ask(client: Client, expression: str) -> Any:
    return client.python(API.format(expression=expression))


@pytest.fixture(params=[True, False], ids=["xet", "lfs"])
def hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[LocalHub, Client]]:
    with hub_and_client(tmp_path / "hub", xet=request.param, log=tmp_path / "log.jsonl") as pair:
        yield pair


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalHub, Client]]:
    with hub_and_client(tmp_path_factory.mktemp("hub"), xet=False) as pair:
        yield pair


@pytest.fixture
def client(shared: tuple[LocalHub, Client]) -> Iterator[Client]:
    yield shared[1]
    empty(shared[0])


def uploads(log: Path) -> list[dict[str, Any]]:
    return [entry for line in log.read_text().splitlines() if (entry := json.loads(line))["stored"] is not None]


def commits(client: Client) -> list[str]:
    return list(ask(client, f"[c.title for c in api.list_repo_commits('{REPO}', repo_type='dataset')]"))


def push(client: Client, folder: Path, *options: str) -> Any:
    return client.command_json("push", str(folder), REPO, "--license", "cc0-1.0", *options)


def test_what_was_built_is_what_loads_by_tag(hub: tuple[LocalHub, Client], tmp_path: Path) -> None:
    _, client = hub
    techniques = [Technique.ORIGINAL, Technique.REMOVE_HN, Technique.RELABEL]
    views = views_of(["tuples", "lists"], techniques=techniques, default="remove-hn", negatives=2)
    built(tmp_path / "one", techniques=techniques, views=views)
    report = push(client, tmp_path / "one")
    assert (report["version"], report["changed"], report["tagged"]) == ("v1.0.0", True, True)
    expected = client.python(LOAD_FOLDER, str(tmp_path / "one"), "", "streaming")
    assert [*expected] == [*techniques, "verdicts", "relabel-tuples", "relabel-lists"]
    assert [*expected["relabel-tuples"][0]] == ["query", "positive", "negative_1", "negative_2"]
    for way in ("plain", "streaming") if client.xet else ("plain",):
        assert client.python(LOAD, REPO, "v1.0.0", way) == expected
    # One commit after the repository's own first one: nobody could see half of it.
    assert commits(client) == ["Release v1.0.0", "initial commit"]


def test_pushing_the_same_again_does_nothing(hub: tuple[LocalHub, Client], tmp_path: Path) -> None:
    _, client = hub
    built(tmp_path / "one")
    first = push(client, tmp_path / "one")
    before = len(uploads(tmp_path / "log.jsonl"))
    second = push(client, tmp_path / "one")
    assert (second["changed"], second["tagged"], second["version"]) == (False, False, "v1.0.0")
    assert second["commit"] == first["commit"]
    assert len(uploads(tmp_path / "log.jsonl")) == before
    assert len(commits(client)) == 2


def test_three_releases_stay_loadable_by_tag(client: Client, tmp_path: Path) -> None:
    expected, few, more = {}, ["original", "remove-hn"], ["original", "remove-hn", "remove"]
    for number, (name, rows, techniques) in enumerate([("one", 20, more), ("two", 30, more), ("three", 30, few)]):
        built(tmp_path / name, rows, techniques=techniques)
        report = push(client, tmp_path / name)
        expected[report["version"]] = client.python(LOAD_FOLDER, str(tmp_path / name), "", "plain")
        assert len(expected) == number + 1
    # More data: minor. Configs that went: major.
    assert list(expected) == ["v1.0.0", "v1.1.0", "v2.0.0"]
    for version, loaded in expected.items():
        assert client.python(LOAD, REPO, version, "plain") == loaded


def test_what_others_put_there_survives(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=10)
    push(client, tmp_path / "one")
    client.python(
        """
import json
import datasets
from huggingface_hub import HfApi, hf_hub_download
repo = "user/set-relabeled"
datasets.Dataset.from_dict({"mine": [1, 2, 3]}).push_to_hub(repo, "mine")
api = HfApi()
api.upload_file(path_or_fileobj=b"notes", path_in_repo="notes.txt", repo_id=repo, repo_type="dataset")
card = open(hf_hub_download(repo, "README.md", repo_type="dataset"), "rb").read()
card = card + b"\\n## My own words \\t \\r\\nend without a line end"
api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo, repo_type="dataset")
print(json.dumps(True))
"""
    )
    built(tmp_path / "two", rows=12)
    report = push(client, tmp_path / "two")
    assert report["version"] == "v1.1.0"
    loaded = client.python(LOAD, REPO, "v1.1.0", "plain")
    assert [row["mine"] for row in loaded["mine"]] == [1, 2, 3]
    assert len(loaded["original"]) == 12
    card, notes = client.python(
        """
import json
from huggingface_hub import hf_hub_download
read = lambda name: open(hf_hub_download("user/set-relabeled", name, repo_type="dataset"), "rb").read().decode()
print(json.dumps([read("README.md"), read("notes.txt")]))
"""
    )
    assert notes == "notes"
    assert card.endswith("\n## My own words \t \r\nend without a line end")
    assert "v1.1.0" in card
    # Pushed again with the user's text in it: nothing to do.
    assert push(client, tmp_path / "two")["changed"] is False


def test_files_of_somebody_else_are_not_mixed_in(client: Client, tmp_path: Path) -> None:
    client.python(
        """
import json
import datasets
datasets.Dataset.from_dict({"query": ["x"]}).push_to_hub("user/set-relabeled", "relabel", set_default=True)
print(json.dumps(True))
"""
    )
    built(tmp_path / "one", rows=5)
    done = client.command("push", str(tmp_path / "one"), REPO, "--license", "cc0-1.0")
    assert done.returncode == 7
    assert "relabel/train-00000-of-00001.parquet" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_dry_run_lists_what_then_happens(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=10)
    planned = push(client, tmp_path / "one", "--dry-run")
    assert ask(client, f"api.repo_exists('{REPO}', repo_type='dataset')") is False
    done = push(client, tmp_path / "one")
    assert planned["files"] == done["files"]
    assert {file["action"] for file in done["files"]} == {"add"}
    there = ask(
        client,
        f"{{f.path: f.size for f in api.list_repo_tree('{REPO}', repo_type='dataset', recursive=True)"
        " if hasattr(f, 'size')}",
    )
    del there[".gitattributes"]
    assert there == {file["path"]: file["bytes"] for file in done["files"]}
    built(tmp_path / "two", rows=10, techniques=["original", "remove-hn"])
    planned = {file["path"]: file["action"] for file in push(client, tmp_path / "two", "--dry-run")["files"]}
    assert planned["original/train-00000-of-00001.parquet"] == "keep"
    assert planned["relabel/train-00000-of-00001.parquet"] == "delete"
    assert planned["manifest.json"] == "replace"
    assert len(commits(client)) == 2


def test_a_tag_is_made_that_a_killed_push_left_out(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=5)
    push(client, tmp_path / "one")
    ask(client, f"api.delete_tag('{REPO}', tag='v1.0.0', repo_type='dataset')")
    again = push(client, tmp_path / "one")
    assert (again["changed"], again["tagged"], again["version"]) == (False, True, "v1.0.0")
    assert len(client.python(LOAD, REPO, "v1.0.0", "streaming", "original")["original"]) == 5


def test_versions_follow_the_wish_and_a_taken_tag_is_refused(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=5)
    assert push(client, tmp_path / "one", "--tag", "v3.1.4")["version"] == "v3.1.4"
    built(tmp_path / "two", rows=6)
    done = client.command("push", str(tmp_path / "two"), REPO, "--tag", "v3.1.4")
    assert done.returncode == 7
    assert "has a tag v3.1.4 already" in done.stderr
    assert push(client, tmp_path / "two", "--bump", "patch")["version"] == "v3.1.5"
    for bad in ("3.1.4", "v1", "v1.2.3-rc", "v01.2.3"):
        assert client.command("push", str(tmp_path / "two"), REPO, "--tag", bad).returncode == 2


def test_a_stale_parent_is_refused_when_the_caller_named_it(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=5)
    first = push(client, tmp_path / "one")["commit"]
    built(tmp_path / "two", rows=6)
    second = push(client, tmp_path / "two", "--parent-commit", first)["commit"]
    built(tmp_path / "three", rows=7)
    done = client.command("push", str(tmp_path / "three"), REPO, "--parent-commit", first)
    assert done.returncode == 7
    assert second in done.stderr
    assert len(commits(client)) == 3


def test_private_and_pull_request(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=5)
    push(client, tmp_path / "one", "--private")
    stranger = Client(client.url, None, client.home, xet=False)
    assert ask(stranger, f"api.repo_exists('{REPO}', repo_type='dataset')") is False
    done = client.command("push", str(tmp_path / "one"), REPO, "--public")
    assert done.returncode == 7
    assert "is private" in done.stderr
    built(tmp_path / "two", rows=6)
    proposed = push(client, tmp_path / "two", "--create-pr")
    assert proposed["pull_request"].endswith("/discussions/1")
    assert proposed["tagged"] is False
    assert len(client.python(LOAD, REPO, "main", "streaming", "original")["original"]) == 5
    ask(client, f"api.merge_pull_request('{REPO}', 1, repo_type='dataset')")
    merged = push(client, tmp_path / "two")
    assert (merged["changed"], merged["tagged"], merged["version"]) == (False, True, proposed["version"])
    assert len(client.python(LOAD, REPO, proposed["version"], "streaming", "original")["original"]) == 6


def test_a_license_is_asked_for_kept_and_taken_over(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=5)
    done = client.command("push", str(tmp_path / "one"), REPO)
    assert done.returncode == 2
    assert "--license" in done.stderr
    assert ask(client, f"api.repo_exists('{REPO}', repo_type='dataset')") is False
    push(client, tmp_path / "one")
    built(tmp_path / "two", rows=6)
    assert client.command("push", str(tmp_path / "two"), REPO).returncode == 0  # the card has it
    sha = ask(client, f"api.dataset_info('{REPO}').sha")
    source = {"name": REPO, "revision": sha}
    built(tmp_path / "three", rows=7, manifest_extra={"source": source})
    assert client.command("push", str(tmp_path / "three"), "user/other").returncode == 0
    assert ask(client, "api.dataset_info('user/other').card_data.license") == "cc0-1.0"


def test_a_source_is_released_without_a_copy_on_the_disk(client: Client, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.sqlite")
    stages = tmp_path / "stages.yaml"
    stages.write_text(
        f"source: {{location: '{rows_path()}'}}\nstages: [{{judge: {{kind: truth, file: '{truth_path()}'}}}}]"
    )
    judged = client.command("judge", str(rows_path()), "--stages", str(stages), "--journal", journal)
    assert judged.returncode == 0, judged.stderr
    planned = push(client, rows_path(), "--journal", journal, "--dry-run")
    report = push(client, rows_path(), "--journal", journal)
    assert planned["files"] == report["files"]
    client.command("build", str(rows_path()), "--journal", journal, "--out", str(tmp_path / "built"))
    expected = client.python(LOAD_FOLDER, str(tmp_path / "built"), "", "plain", "relabel")
    assert client.python(LOAD, REPO, report["version"], "plain", "relabel") == expected
    # The same from a folder is the same release.
    assert push(client, tmp_path / "built")["changed"] is False
    assert push(client, rows_path(), "--journal", journal)["changed"] is False


def test_a_changed_file_is_not_released(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=5)
    file = tmp_path / "one" / "relabel" / "train-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"X")
    done = client.command("push", str(tmp_path / "one"), REPO, "--license", "cc0-1.0")
    assert done.returncode == 6
    assert "relabel/train-00000-of-00001.parquet" in done.stderr
    assert ask(client, f"api.repo_exists('{REPO}', repo_type='dataset')") is False


def test_a_wrong_token_is_said_in_one_line_without_the_token(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=5)
    wrong = Client(client.url, "hf_wrong_and_secret", client.home, xet=False)
    done = wrong.command("push", str(tmp_path / "one"), REPO, "--license", "cc0-1.0")
    assert done.returncode == 7
    assert len(done.stderr.strip().splitlines()) == 1
    assert "hf_wrong_and_secret" not in done.stderr + done.stdout


def test_a_job_file_judges_and_releases(client: Client, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(
        f"""
parameters: {{repo: null}}
source: {{location: "{rows_path()}", limit: 20}}
journal: "{tmp_path / "journal.sqlite"}"
stages:
  - judge: {{kind: truth, file: "{truth_path()}"}}
push: {{repo: "${{repo}}", license: apache-2.0, language: en, tag: v0.1.0}}
"""
    )
    first = client.command_json("run", str(job), "--set", f"repo={REPO}")["push"]
    assert (first["version"], first["changed"], first["tagged"]) == ("v0.1.0", True, True)
    assert client.command_json("run", str(job), "--set", f"repo={REPO}")["push"]["changed"] is False
    loaded = client.python(LOAD, REPO, "v0.1.0", "streaming", "original")
    assert len(loaded["original"]) == 20
    assert ask(client, f"api.dataset_info('{REPO}').card_data.language") == ["en"]


@pytest.mark.soak  # make quickstart does the same
def test_the_quickstart_releases_and_loads_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = tmp_path / "rows.jsonl"
    few.write_text("".join(rows_path().read_text(encoding="utf-8").splitlines(keepends=True)[:12]), encoding="utf-8")
    program = f"""
import pathlib, hf_relabel.builders.quickstart as shipped
shipped.rows_path = lambda: pathlib.Path({str(few)!r})
{COMMAND_LINE}"""
    with offline_client() as offline:  # it brings its own Hub
        ran = offline.run(program, "quickstart", "--out", str(out), "--json")
    done = json.loads(ran.stdout)
    steps = [line for line in ran.stderr.splitlines() if " of 4: " in line]
    assert len(steps) == 4
    assert {each.name for each in out.iterdir()} >= {"configs", "journal.sqlite", "hub"}
    assert done["release"]["version"] == "v1.0.0"
    assert done["rows"]["original"] == done["rows"]["relabel"] == 12
    assert done["rows"]["remove"] < 12
    assert done["truth"]["found"] > done["truth"]["wrong"]


def test_the_python_names_are_those_of_the_commands(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=10)
    built(tmp_path / "two", rows=11)
    told = client.python(
        """
import json, sys
from hf_relabel import diff, log, open_release, pull, push
one, two, out = sys.argv[1:]
push(one, "user/set", license="mit")
push(two, "user/set")
pull("user/set@v1.0.0", out)
found = diff("user/set@v1.0.0", "user/set")
versions = [version.version for version in log("user/set")]
print(json.dumps([versions, found.counts.total_rows.added, sum(1 for _ in open_release("user/set@v1.1.0").rows())]))
""",
        *(str(tmp_path / name) for name in ("one", "two", "out")),
    )
    assert told == [["v1.1.0", "v1.0.0"], 1, 11]
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.parametrize("xet", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["xet", "lfs"])
def test_a_token_is_written_nowhere(tmp_path: Path, xet: bool) -> None:
    """A canary token does everything; it is then looked for in every file and every output."""
    canary, wrong = "hf_canaryCANARYcanary0123456789", "hf_wrongCANARYwrong0123456789"
    outputs = []
    with hub_and_client(tmp_path / "hub", xet=xet, users={"user": canary}, log=tmp_path / "log.jsonl") as (_, client):
        built(tmp_path / "one", rows=8)
        built(tmp_path / "two", rows=9)
        stranger = Client(client.url, wrong, client.home, xet=xet)
        for who, arguments in (
            (client, ["push", str(tmp_path / "one"), REPO, "--license", "mit"]),
            (client, ["push", str(tmp_path / "two"), REPO]),
            (client, ["push", str(tmp_path / "two"), REPO, "--tag", "v1.0.0"]),
            (client, ["push", str(tmp_path / "two"), "somebody/else", "--license", "mit"]),
            (client, ["log", REPO]),
            (client, ["diff", f"{REPO}@v1.0.0", REPO]),
            (client, ["pull", REPO, "--out", str(tmp_path / "pulled")]),
            (client, ["build", "--from", REPO, "--out", str(tmp_path / "again")]),
            (stranger, ["push", str(tmp_path / "two"), REPO]),
            (stranger, ["pull", REPO, "--out", str(tmp_path / "never")]),
            (stranger, ["log", REPO]),
        ):
            done = who.command(*arguments)
            outputs.append(done.stdout + done.stderr)
            assert "Traceback" not in done.stderr
    assert not [text for text in outputs if canary in text or wrong in text]
    known = tmp_path / "hub" / "hub" / "users.json"  # where the server knows its users from
    assert canary in known.read_text()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != known]
    assert len(files) > 50
    secrets = (canary.encode(), wrong.encode())
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


QUIET = """
import json, sys
from huggingface_hub.utils.tqdm import are_progress_bars_disabled as quiet
from hf_relabel import push
sys.modules["huggingface_hub.utils.tqdm"].HF_HUB_DISABLE_PROGRESS_BARS = None  # as if the tests' environment had none
told = []
for progress in (lambda name, size: told.append(quiet()), False, True):
    push(sys.argv[1], sys.argv[2], license="cc0-1.0", progress=progress)
after = quiet()
try:
    push(sys.argv[1], sys.argv[2], license="cc0-1.0", tag="1", progress=False)
except Exception as error:
    print(json.dumps([sorted(set(told)), after, quiet(), type(error).__name__]))
"""


def test_the_bars_of_the_hubs_client_are_not_shown_while_python_pushes(client: Client, tmp_path: Path) -> None:
    built(tmp_path / "one", rows=4)
    done = client.run(QUIET, str(tmp_path / "one"), REPO)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == [[True], False, False, "ConfigError"]
    assert "%|" not in done.stderr

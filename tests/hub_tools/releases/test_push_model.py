"""A trained model goes to the local Hub and comes back by its tag, through the real clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_relabel.hub_tools.local_hub import LocalHub
from tests.forked import MODELS
from tests.hub_tools.release_clients import Client, empty, hub_and_client
from tests.trainers.runs import beir_folder, rows_file
from tests.trainers.training.test_training import run

REPO = "user/tiny-retriever"
TEXTS = ["good 1 k 0", "bad 2 p 1"]
LOAD = """
import json, sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], revision=sys.argv[2], device="cpu")
print(json.dumps(model.encode(json.loads(sys.argv[3])).tolist()))
"""
DOWNLOAD = """
import json, sys
from huggingface_hub import snapshot_download
print(json.dumps(snapshot_download(sys.argv[1], revision=sys.argv[2])))
"""
FILE = """
import json, sys
from huggingface_hub import hf_hub_download
path = hf_hub_download(sys.argv[1], sys.argv[2], revision=sys.argv[3])
print(json.dumps(open(path, encoding="utf-8").read()))
"""
COMMIT = """
import json, sys
from huggingface_hub import HfApi
done = HfApi().upload_file(path_or_fileobj=sys.argv[3].encode(), path_in_repo=sys.argv[2], repo_id=sys.argv[1])
print(json.dumps(done.oid))
"""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an evaluation."""
    from hf_relabel.trainers.evaluation.beir import read_beir

    folder = tmp_path_factory.mktemp("run")
    rows_file(folder)
    return run(folder, sets=[read_beir(beir_folder(folder))])[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalHub, Client]]:
    with hub_and_client(tmp_path_factory.mktemp("hub")) as pair:
        yield pair


@pytest.fixture
def hub(shared: tuple[LocalHub, Client]) -> Iterator[tuple[LocalHub, Client]]:
    yield shared
    empty(shared[0])


def push(client: Client, folder: Path, *options: str) -> Any:
    return client.command_json("push-model", str(folder), REPO, *options)


def loaded(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS).tolist()


def downloaded(client: Client, revision: str) -> Path:
    """What the client has of the model."""
    return Path(client.python(DOWNLOAD, REPO, revision))


def changed(folder: Path, place: Path) -> Path:
    """The same model with other weights."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, place)
    path = place / "model.safetensors"
    save_file({name: tensor * 2 + 0.1 for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    return place


def test_a_model_loads_by_its_tag_with_the_same_embeddings(hub: Any, trained: Path) -> None:
    _, client = hub
    report = push(client, trained, "--license", "apache-2.0")
    assert (report["version"], report["changed"], report["tagged"]) == ("v1.0.0", True, True)
    assert loaded(downloaded(client, "v1.0.0")) == loaded(trained)
    card = ModelCard(client.python(FILE, REPO, "README.md", "v1.0.0"))
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "sentence-transformers"
    _, results = model_index_to_eval_results(card_index(card))
    assert len(results) == 4


def card_index(card: ModelCard) -> Any:
    import yaml

    return yaml.safe_load(card.content.split("---")[1])["model-index"]


def test_no_file_tells_the_folders_of_this_machine(hub: Any, trained: Path) -> None:
    _, client = hub
    push(client, trained)
    for name in ("README.md", "training.json", "recipe.yaml", "release.json"):
        assert str(trained.parent) not in client.python(FILE, REPO, name, "v1.0.0")


def test_the_same_again_is_nothing_and_other_weights_are_a_version(hub: Any, trained: Path, tmp_path: Path) -> None:
    _, client = hub
    push(client, trained)
    again = push(client, trained)
    assert (again["version"], again["changed"]) == ("v1.0.0", False)
    other = changed(trained, tmp_path / "other")
    assert push(client, other)["version"] == "v1.1.0"
    assert loaded(downloaded(client, "v1.1.0")) == loaded(other) != loaded(trained)
    assert loaded(downloaded(client, "v1.0.0")) == loaded(trained)


@pytest.mark.soak
def test_sentence_transformers_itself_loads_a_model_by_its_tag(hub: Any, trained: Path) -> None:
    client = replace(hub[1], modules=MODELS)
    push(client, trained)
    assert client.python(LOAD, REPO, "v1.0.0", json.dumps(TEXTS)) == loaded(trained)


def test_what_others_wrote_stays(hub: Any, trained: Path, tmp_path: Path) -> None:
    _, client = hub
    push(client, trained)
    text = client.python(FILE, REPO, "README.md", "main")
    mine = text.replace("\n<!-- hf-relabel:begin", "\nMy own words.\n\n<!-- hf-relabel:begin", 1)
    client.python(COMMIT, REPO, "README.md", mine)
    client.python(COMMIT, REPO, "notes.txt", "mine")
    assert push(client, changed(trained, tmp_path / "other"))["version"] == "v1.1.0"
    assert "My own words." in client.python(FILE, REPO, "README.md", "v1.1.0")
    assert client.python(FILE, REPO, "notes.txt", "v1.1.0") == "mine"


def test_a_dry_run_says_what_happens_and_sends_nothing(hub: Any, trained: Path) -> None:
    _, client = hub
    planned = push(client, trained, "--dry-run")
    done = push(client, trained)
    assert [(file["path"], file["action"]) for file in planned["files"]] == [
        (file["path"], file["action"]) for file in done["files"]
    ]
    assert not {"run.json"} & {file["path"] for file in done["files"]}


def test_a_stale_parent_and_a_taken_tag_are_refused(hub: Any, trained: Path, tmp_path: Path) -> None:
    _, client = hub
    push(client, trained)
    stale = client.command("push-model", str(trained), REPO, "--parent-commit", "0" * 40)
    assert (stale.returncode, "is at commit" in stale.stderr) == (7, True)
    other = changed(trained, tmp_path / "other")
    client.python(COMMIT, REPO, "notes.txt", "mine")
    assert push(client, other)["version"] == "v1.1.0"
    taken = client.command("push-model", str(trained), REPO, "--tag", "v1.0.0")
    assert (taken.returncode, "has a tag v1.0.0" in taken.stderr) == (7, True)


def test_a_missing_tag_is_made_by_the_next_push(hub: Any, trained: Path) -> None:
    _, client = hub
    push(client, trained)
    client.python(
        "import json, sys; from huggingface_hub import HfApi; HfApi().delete_tag(sys.argv[1], tag='v1.0.0');"
        " print(json.dumps(1))",
        REPO,
    )
    again = push(client, trained)
    assert (again["version"], again["changed"], again["tagged"]) == ("v1.0.0", False, True)


def test_what_is_no_model_and_links_out_of_it_are_refused(hub: Any, trained: Path, tmp_path: Path) -> None:
    _, client = hub
    (tmp_path / "empty").mkdir()
    done = client.command("push-model", str(tmp_path / "empty"), REPO)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    other = changed(trained, tmp_path / "other")
    (other / "link.txt").symlink_to("/etc/hostname")
    linked = client.command("push-model", str(other), REPO)
    assert (linked.returncode, "leads out" in linked.stderr) == (7, True)


def test_the_token_is_in_no_output(hub: Any, trained: Path) -> None:
    running, client = hub
    done = client.command("push-model", str(trained), REPO)
    assert done.returncode == 0
    assert running.token not in done.stdout + done.stderr
    assert running.token not in json.dumps([path.read_text() for path in trained.glob("*.json")])


@pytest.mark.soak
def test_one_job_file_judges_compares_releases_trains_and_publishes(hub: Any, tmp_path: Path) -> None:
    import yaml

    client = replace(hub[1], modules=MODELS)
    rows = rows_file(tmp_path)
    made = [json.loads(line) for line in rows.read_text().splitlines()]
    truth = [{"query_id": row["query_id"], "false_negatives": [row["negative_passages"][0]["docid"]]} for row in made]
    (tmp_path / "truth.jsonl").write_text("\n".join(map(json.dumps, truth)))
    from tests.trainers.runs import tiny_recipe

    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(tiny_recipe(tmp_path, max_steps=2).to_yaml())
    beir = str(beir_folder(tmp_path))
    job = {
        "source": {"location": str(rows)},
        "journal": str(tmp_path / "journal.sqlite"),
        "stages": [{"judge": {"kind": "truth", "file": str(tmp_path / "truth.jsonl")}}],
        "build": {"out": str(tmp_path / "cleaned")},
        "compare": {"eval": [beir], "recipe": str(recipe), "seeds": 2, "arms": ["relabel"], "device": "cpu"},
        "push": {"repo": "user/tiny-relabeled", "license": "apache-2.0"},
        "train": {
            "recipe": str(recipe),
            "config": "relabel",
            "out": str(tmp_path / "model"),
            "eval": [beir],
            "compare_original": True,
            "seeds": 2,
        },
        "push_model": {"repo": REPO},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    done = client.command_json("run", str(tmp_path / "job.yaml"))
    assert done["push"]["version"] == done["push_model"]["version"] == "v1.0.0"
    data = done["train"]["data"]
    assert (data["repo_id"], data["config"], data["revision"]) == (
        "user/tiny-relabeled",
        "relabel",
        done["push"]["commit"],
    )
    model_card = client.python(FILE, REPO, "README.md", "v1.0.0")
    assert f"datasets/user/tiny-relabeled/tree/{data['revision']}" in model_card
    files = "import json, sys; from huggingface_hub import HfApi; print(json.dumps(HfApi().dataset_info(sys.argv[1],"
    assert client.python(f"{files} revision=sys.argv[2]).sha))", "user/tiny-relabeled", data["revision"])
    read = "import json, sys; from huggingface_hub import hf_hub_download as d; p = d(sys.argv[1], 'README.md',"
    data_card = client.python(f"{read} repo_type='dataset'); print(json.dumps(open(p).read()))", "user/tiny-relabeled")
    assert "figures/compare.png" in data_card
    assert done["train"]["comparison"]["config"] == "original"
    assert len(done["train"]["comparison"]["seeds"]) == 2
    assert "figures/difference.png" in model_card
    options = ["--eval", beir, "--arm", "relabel", "--seeds", "1", "--recipe", str(recipe), "--device", "cpu"]
    compared = client.command_json("compare", "user/tiny-relabeled", *options, "--push")
    assert compared["written_to"] == "user/tiny-relabeled@v1.0.1"
    assert done["compare"]["chosen"] in ("relabel", "remove-hn", "original")

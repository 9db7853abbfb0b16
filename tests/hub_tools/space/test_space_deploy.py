"""Deploying the Space to the local Hub: one Space, one commit, and nothing to do the second time."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import CardError, ConfigError
from hf_relabel.hub_tools.package_files import package_files, requirements
from hf_relabel.hub_tools.space import deployed_files
from hf_relabel.hub_tools.space.deployed_files import PARTS, space_files, space_readme
from hf_relabel.hub_tools.space.deploying import DeployOptions
from tests.hub_tools.release_clients import Client, command_here, hub_and_client
from tests.hub_tools.releases_data import built

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:httpx2.*")  # how huggingface_hub sends files

RELEASE = "user/set"
SECRET = "hf_secret_of_the_space_1234567890"
STATE = """
import json, sys
from huggingface_hub import HfApi
api = HfApi()
space = sys.argv[1]
info = api.space_info(space)
print(json.dumps({
    "spaces": [each.id for each in api.list_spaces(author="user")],
    "commits": len(api.list_repo_commits(space, repo_type="space")),
    "files": sorted(sibling.rfilename for sibling in info.siblings),
    "private": info.private,
    "sdk": info.sdk,
    "card": info.card_data.to_dict(),
    "variables": {name: entry.value for name, entry in api.get_space_variables(space).items()},
    "secrets": sorted(api.get_space_secrets(space)),
    "hardware": api.get_space_runtime(space).requested_hardware,
}))
"""
WRITE = """
import json, sys
from huggingface_hub import HfApi
texts = json.loads(sys.argv[2])
for path, text in texts.items():
    HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=sys.argv[1], repo_type="space")
print("null")
"""
DOWNLOAD = """
import json, sys
from huggingface_hub import snapshot_download
print(json.dumps(snapshot_download(sys.argv[1], repo_type="space", local_dir=sys.argv[2])))
"""


@dataclass
class Space:
    """A Space of a test of its own, on a Hub with one release."""

    client: Client
    id: str

    def command(self, *options: str, release: str = RELEASE) -> subprocess.CompletedProcess[str]:
        return command_here(self.client, "space", "deploy", release, self.id, *options)

    def deploy(self, *options: str, release: str = RELEASE) -> Any:
        done = self.command(*options, "--json", release=release)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def state(self) -> Any:
        return self.client.python(STATE, self.id)

    def texts(self, folder: Path) -> dict[str, str]:
        """All files."""
        root = Path(self.client.python(DOWNLOAD, self.id, str(folder)))
        paths = [path for path in root.rglob("*") if path.is_file() and ".cache" not in path.parts]
        return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}

    def write(self, texts: dict[str, str]) -> None:
        self.client.python(WRITE, self.id, json.dumps(texts))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("hub")
    built(folder / "built")
    with hub_and_client(folder) as (_, client):
        client.command_json("push", str(folder / "built"), RELEASE, "--license", "unknown")
        client.command_json("push", str(folder / "built"), "user/private", "--private", "--license", "unknown")
        client.extra["SPACE_TOKEN"] = SECRET
        yield client


@pytest.fixture
def whole_space(client: Client, request: pytest.FixtureRequest) -> Space:
    digest = hashlib.sha1(request.node.name.encode()).hexdigest()[:12]
    return Space(client, f"user/space-{digest}")


@functools.cache
def pins(extras: tuple[str, ...]) -> list[str]:
    return requirements(extras)


@pytest.fixture
def space(whole_space: Space, monkeypatch: pytest.MonkeyPatch) -> Space:
    """To which few files of the package are sent."""
    monkeypatch.setattr(deployed_files, "PARTS", ("hub_tools.space.web",))
    monkeypatch.setattr(deployed_files, "requirements", pins)
    return whole_space


def test_deploying_twice_gives_one_space_and_a_no_op(space: Space) -> None:
    options = ["--secret", "HF_TOKEN=SPACE_TOKEN", "--variable", "THEME=calm", "--hardware", "cpu-basic"]

    first = space.deploy(*options)
    once = space.state()
    again = space.deploy(*options)

    assert (first["created"], first["changed"]) == (True, True)
    assert (again["created"], again["changed"], again["commit"]) == (False, False, first["commit"])
    assert {file["action"] for file in again["files"]} == {"keep"}
    assert space.state() == once
    assert once["spaces"].count(space.id) == 1
    assert once["commits"] == 2  # the Hub's own first one, and ours
    assert (once["sdk"], once["private"], once["hardware"], once["secrets"]) == (
        "gradio",
        False,
        "cpu-basic",
        ["HF_TOKEN"],
    )
    assert once["variables"] == {
        "HF_RELABEL_RELEASE": RELEASE,
        "HF_RELABEL_SAMPLE": "400",
        "HF_RELABEL_SEED": "0",
        "THEME": "calm",
    }
    assert "nothing to do" in space.command(*options).stdout


def test_the_front_matter_is_what_runs_the_space(space: Space) -> None:
    from importlib.metadata import version

    space.deploy()
    card = space.state()["card"]
    assert {name: card[name] for name in ("sdk", "sdk_version", "app_file", "hf_oauth", "suggested_hardware")} == {
        "sdk": "gradio",
        "sdk_version": version("gradio"),
        "app_file": "app.py",
        "hf_oauth": True,
        "suggested_hardware": "cpu-basic",
    }
    assert card["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert card["datasets"] == [RELEASE]
    assert (card["title"], card["colorFrom"], card["colorTo"]) == ("set relabelled", "blue", "gray")


def test_what_others_wrote_stays_and_what_is_ours_is_mended(space: Space, tmp_path: Path) -> None:
    space.deploy()
    mine = space.texts(tmp_path / "before")["README.md"]
    mine = mine.replace("title: set relabelled", "title: Mine\npinned: true") + "\nMy own words.\n"
    old = "hf_relabel/of_an_older_version.py"
    space.write({"README.md": mine, "notes.txt": "mine", "app.py": "broken", old: "old"})

    report = space.deploy()

    changed = {file["path"]: file["action"] for file in report["files"] if file["action"] != "keep"}
    assert changed == {"app.py": "replace", old: "delete"}
    texts = space.texts(tmp_path / "after")
    assert texts["README.md"] == mine
    assert texts["notes.txt"] == "mine"
    assert "serving import main" in texts["app.py"]
    assert old not in texts


def test_another_version_changes_a_variable_and_no_file(space: Space) -> None:
    first = space.deploy("--people", "ada,grace")
    pinned = space.deploy("--people", "ada,grace", release=f"{RELEASE}@v1.0.0")
    assert (pinned["variables"], pinned["commit"]) == (["HF_RELABEL_REVISION"], first["commit"])
    assert space.state()["variables"]["HF_RELABEL_REVISION"] == "v1.0.0"
    back = space.deploy()
    assert back["variables"] == ["-HF_RELABEL_PEOPLE", "-HF_RELABEL_REVISION"]


def test_a_dry_run_sends_nothing(space: Space) -> None:
    planned = space.deploy("--dry-run", "--secret", "HF_TOKEN=SPACE_TOKEN")
    assert (planned["created"], planned["changed"], planned["commit"]) == (True, True, None)
    assert "RepositoryNotFoundError" in space.client.run(STATE, space.id).stderr
    done = space.deploy("--secret", "HF_TOKEN=SPACE_TOKEN")
    assert planned["files"] == done["files"]


def test_a_secret_is_sent_once_and_shown_never(space: Space, tmp_path: Path) -> None:
    assert "no secret HF_TOKEN" in space.deploy("--dry-run")["notes"][0]
    said = space.command("--secret", "HF_TOKEN=SPACE_TOKEN")
    assert (said.returncode, "secrets HF_TOKEN" in said.stdout) == (0, True)
    again = space.deploy("--secret", "HF_TOKEN=SPACE_TOKEN")
    replaced = space.deploy("--secret", "HF_TOKEN=SPACE_TOKEN", "--replace-secrets")
    assert (again["secrets"], again["notes"], replaced["secrets"]) == ([], [], ["HF_TOKEN"])
    missing = space.command("--secret", f"HF_TOKEN={SECRET}")
    assert missing.returncode == 2
    shown = [said.stdout, said.stderr, missing.stdout, missing.stderr, json.dumps(again)]
    assert not any(SECRET in text for text in [*shown, *space.texts(tmp_path / "all").values()])


def test_a_private_data_set_is_not_shown_to_everybody(space: Space) -> None:
    space.deploy()  # a public Space of another set
    refused = space.command(release="user/private")
    assert refused.returncode == 7
    assert f"is private and the Space {space.id} is public" in refused.stderr
    hidden = Space(space.client, "user/hidden")
    hidden.deploy(release="user/private")
    assert hidden.state()["private"] is True


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["user/nothing", "user/space"], 7, "no such data set"),
        (["./folder", "user/space"], 2, "is no release on the Hub"),
        ([RELEASE, "space"], 2, "cannot name a Space"),
        ([RELEASE, "user/space", "--variable", "HF_RELABEL_SEED=1"], 2, "set by other options"),
        ([RELEASE, "user/space", "--variable", "A B=1"], 2, "cannot name a secret or variable"),
        ([RELEASE, "user/space", "--variable", "NOTHING"], 2, "Give --variable NAME=VALUE"),
        ([RELEASE, "somebody/else"], 7, "answered 403"),
    ],
)
def test_what_cannot_be_deployed_is_said_in_a_line(arguments: list[str], code: int, said: str, client: Client) -> None:
    done = command_here(client, "space", "deploy", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_package_comes_along_and_others_are_pinned() -> None:
    files = space_files()
    pins = files["requirements.txt"].decode().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins)
    assert {line.split("==")[0].lower() for line in pins} >= {"gradio", "authlib", "datasets", "pyarrow"}
    assert not any(line.startswith(("torch", "hf-relabel", "hf_relabel")) for line in pins)
    assert "hf_relabel/hub_tools/space/web/static/space.js" in files
    assert "hf_relabel/hub_tools/space/web/templates/row.html.jinja" in files
    assert not any(path.startswith("hf_relabel/trainers") for path in files)


def test_a_broken_readme_is_not_guessed_at() -> None:
    with pytest.raises(CardError, match=r"README\.md"):
        space_readme(RELEASE, "---\ntitle: [\n---\n")


def test_a_name_is_a_secret_or_a_variable() -> None:
    with pytest.raises(ConfigError, match="cannot be a secret and a variable"):
        DeployOptions(secrets={"A": "1"}, variables={"A": "1"}).check()
    assert "1234" not in repr(DeployOptions(secrets={"A": "1234"}))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _page(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=120) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer. {log.read_text()[-3000:]}")


def _shown(url: str, page: int) -> str:
    """What a page of the app asks for when it is opened."""
    body = json.dumps({"data": [], "fn_index": page, "session_hash": "x"}).encode()
    request = urllib.request.Request(f"{url}/gradio_api/run/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return str(json.load(answer)["data"])


@pytest.mark.soak
def test_the_deployed_files_start_in_a_fresh_environment(whole_space: Space, tmp_path: Path) -> None:
    space = whole_space
    space.deploy()
    folder = tmp_path / "space"
    space.texts(folder)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True, timeout=120)
    python = tmp_path / "fresh" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]
    try:
        installed = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        pytest.skip("pip did not install the Space's requirements within 240 s")
    if installed.returncode:
        pytest.skip(f"pip cannot install the Space's requirements here: {installed.stderr[-300:]}")
    port = _free_port()
    environment = {**space.client.environment(), **space.state()["variables"], "GRADIO_SERVER_PORT": str(port)}
    environment.pop("PYTHONPATH", None)
    log = tmp_path / "app.log"
    with log.open("wb") as file:
        process = subprocess.Popen([python, "app.py"], cwd=folder, env=environment, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    try:
        assert RELEASE in _page(url, process, log)
        assert "with a false negative" in _shown(url, 0)
        assert "query 3 of 0" in _shown(url, 1)
        where = [python, "-c", "import hf_relabel, sys; print(hf_relabel.__file__, sys.prefix)"]
        said = subprocess.run(where, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
        assert said.split() == [str(folder / "hf_relabel" / "__init__.py"), str(tmp_path / "fresh")]
    finally:
        process.terminate()
        assert process.wait(timeout=120) == 0
    assert "Traceback" not in log.read_text()


def test_the_deployed_modules_import_nothing_that_is_left_behind() -> None:
    """From the app's own module on, what each imports when it is imported itself."""
    everything, carried = (_modules(package_files(only).paths) for only in (None, PARTS))
    waiting, seen = ["hf_relabel.hub_tools.space.web.app", "hf_relabel.hub_tools.space.web.serving"], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            assert name in carried, f"{name} is left behind"
            waiting += _imported(carried[name], everything)
    assert len(seen) > 20


def _imported(file: Path, everything: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hf_relabel."):
            for each in node.names:
                below = f"{node.module}.{each.name}"
                yield below if below in everything else str(node.module)


def _modules(paths: Mapping[str, Path]) -> dict[str, Path]:
    return {
        path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file
        for path, file in paths.items()
        if path.endswith(".py")
    }

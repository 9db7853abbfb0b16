"""What a push says where the Hub does not take it: who asked, what is missing, what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hf_relabel.builders.errors import ConfigError, ReleaseError
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.hub_tools.building.run import build_configs
from hf_relabel.hub_tools.hub.errors import Account, why_not_written
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.local_hub import LocalHub
from hf_relabel.hub_tools.releases.models import push_model
from hf_relabel.hub_tools.releases.push import push
from hf_relabel.trainers.training.publishing import publish
from tests.hub_tools.commands.test_judged_share import row
from tests.hub_tools.releases_data import built

TOKENS = {"alice": "hf_of_alice", "bob": "hf_of_bob"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    organisations = {"acme": {"alice": "write"}, "readers": {"alice": "read"}}
    with LocalHub(tmp_path_factory.mktemp("hub"), users=TOKENS, organisations=organisations) as started:
        yield started


@pytest.fixture(autouse=True)
def client(hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A client of that Hub to whom nobody is logged in."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "release"
    built(folder, rows=5)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}")
    return folder


def refusal(folder: Path, repo_id: str, token: str | None = None) -> str:
    is_release = (folder / "manifest.json").is_file()
    with pytest.raises(ReleaseError) as raised:
        push(folder, repo_id, token=token, license="cc0-1.0") if is_release else push_model(
            folder, repo_id, token=token
        )
    assert "hf_of" not in str(raised.value)
    assert "hf_wrong" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(params=["release", "model"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def test_nobody_is_told_how_to_log_in(folder: Path, hub: LocalHub) -> None:
    assert refusal(folder, "alice/set") == (
        f"No token was found, neither in HF_TOKEN nor of `hf auth login`: make one that may write at {hub.url}/settings"
        "/tokens, then log in with it (`hf auth login`) or set HF_TOKEN."
    )


def test_all_that_is_missing_is_said_at_once_and_the_token_first(release: Path) -> None:
    with pytest.raises(ReleaseError) as raised:
        push(release, "alice/set")
    assert str(raised.value).startswith("No token was found")
    assert "HF_TOKEN. Also: alice/set needs a license" in str(raised.value)
    with pytest.raises(ReleaseError) as raised:
        push(release, "set")
    assert str(raised.value).count(" Also: ") == 2
    assert "Also: set: name the data set with its account: ACCOUNT/set. Also: set needs" in str(raised.value)


def test_what_does_not_fit_a_repository_is_said_at_once(release: Path) -> None:
    HfApi(token=TOKENS["alice"]).create_repo("alice/whole", repo_type="dataset")
    with pytest.raises(ReleaseError) as raised:
        push(release, "alice/whole", token=TOKENS["alice"], private=True, parent_commit="0" * 40)
    assert "exists and is public" in str(raised.value)
    assert "Also: alice/whole is at commit" in str(raised.value)
    assert "Also: alice/whole needs a license" in str(raised.value)


def test_a_dry_run_needs_no_token(release: Path) -> None:
    assert push(release, "alice/never", license="cc0-1.0", dry_run=True).dry_run


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_license_that_the_hub_does_not_know_is_refused_in_a_dry_run_too(release: Path, dry_run: bool) -> None:
    with pytest.raises(ConfigError, match=r"`license=\"apache2\"` is no license .* Did you mean 'apache-2\.0'\?"):
        push(release, "alice/never", license="apache2", token=TOKENS["alice"], dry_run=dry_run)


def test_the_license_of_a_model_is_looked_at_too(model: Path) -> None:
    with pytest.raises(ConfigError, match="is no license"):
        publish(model, "alice/never", license="MIT License", token=TOKENS["alice"])


def test_what_was_not_judged_is_told_before_it_is_released(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [row(number, ["answer", f"one {number}", f"two {number}"]) for number in range(3)]
    (tmp_path / "truth.jsonl").write_text(
        "".join(json.dumps({"query_id": f"q{number}", "false_negatives": []}) + "\n" for number in range(2))
    )
    journal = tmp_path / "journal.sqlite"
    judge(rows, TruthJudge(str(tmp_path / "truth.jsonl")), journal, progress=False)
    build_configs(rows, journal, str(tmp_path / "partly"), min_judged=0.5, progress=False)
    caplog.clear()
    assert push(tmp_path / "partly", "alice/never", license="cc0-1.0", dry_run=True).dry_run
    (told,) = caplog.messages
    assert "that need a judge were judged" in told
    assert "in rows that the judge does not know" in told


def test_of_what_was_judged_whole_nothing_is_told(release: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert push(release, "alice/never", license="cc0-1.0", dry_run=True).dry_run
    assert not caplog.messages


def test_without_a_hub_the_missing_token_is_said_and_nothing_else(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ReleaseError, match=r"^No token was found[^A]+$"):
        push(release, "alice/set")


def test_of_a_token_that_is_not_known_it_is_said_where_it_comes_from(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not know the token that was sent, which came from the call" in refusal(folder, "alice/set", "hf_wrong")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not know the token that was sent, which came from HF_TOKEN" in refusal(folder, "alice/set")


def test_in_the_place_of_others_account_and_own_places_are_named(folder: Path) -> None:
    message = refusal(folder, "bob/set", TOKENS["alice"])
    assert message.startswith(
        "bob/set: the Hub answered 403 to the account alice, which may not write to what bob owns"
    )
    assert "Push to alice/…, acme/…, or ask bob" in message


def test_a_name_without_an_account_is_completed(folder: Path) -> None:
    assert "alice/set. You are logged in as alice" in refusal(folder, "set", TOKENS["alice"])
    message = refusal(folder, "set")
    assert "ACCOUNT/set" in message
    assert "No token was found" in message


class Told(HfApi):
    """An API that says of the account what the local Hub never would."""

    def __init__(self, role: str) -> None:
        super().__init__(endpoint="https://huggingface.co", token="hf_of_alice")
        self.role = role

    def whoami(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"name": "alice", "orgs": [], "auth": {"accessToken": {"role": self.role}}}


def test_of_a_token_that_may_only_read_that_is_said() -> None:
    message = why_not_written(Told("read"), "alice/set", 403, "data set")
    assert message == (
        "alice/set: the Hub answered 403 to the account alice, whose token may only read. Make one that may write at"
        " https://huggingface.co/settings/tokens, then log in with it (`hf auth login`) or set HF_TOKEN."
    )
    assert "whose token does not allow it" in why_not_written(Told("fineGrained"), "alice/set", 403, "data set")


def test_a_missing_repository_is_said_to_be_missing() -> None:
    assert "there is no such data set" in why_not_written(Told("write"), "alice/set", 404, "data set")


def test_organisations_in_which_one_only_reads_are_no_place_to_push_to(hub: LocalHub) -> None:
    account = Account.of(HfApi(endpoint=hub.url, token=TOKENS["alice"]))
    assert account == Account("alice", "write", ("alice", "acme"))

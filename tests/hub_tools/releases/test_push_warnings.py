"""What a push says before it sends, and does all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_relabel.hub_tools.releases.models import push_model
from hf_relabel.hub_tools.releases.push import push
from hf_relabel.hub_tools.releases.pusher import Pusher
from hf_relabel.hub_tools.releases.repository import Head
from tests.hub_tools.releases_data import built

REPO = "user/set-relabeled"


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The manifest of the release that is there, to be filled in."""
    manifest: dict[str, Any] = {}

    def look(pusher: Pusher, *_: Any) -> None:
        pusher.head = Head(manifest=manifest)

    monkeypatch.setattr(Pusher, "look", look)
    return manifest


def test_a_release_of_another_source_is_said(
    head: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built(tmp_path / "one", rows=4, manifest_extra={"source": {"name": "one.jsonl", "files": ["one.jsonl"]}})
    head["source"] = {"name": "one.jsonl", "files": ["one.jsonl"]}
    assert push(tmp_path / "one", REPO, license="unknown", dry_run=True, progress=False).dry_run
    assert not caplog.text
    head["source"] = {"name": "rlhn/default-680K", "subset": ["nq"]}
    assert push(tmp_path / "one", REPO, license="unknown", dry_run=True, progress=False).dry_run
    assert (
        f"{REPO}: the release there was made of rlhn/default-680K (nq), this one is made of one.jsonl." in caplog.text
    )


def test_a_model_without_a_license_is_said(
    head: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.json").write_text("{}")
    how: dict[str, Any] = {"dry_run": True, "progress": False}
    push_model(tmp_path, REPO, **how)
    assert "the card names no license. Give one with `license: apache-2.0` in its README.md." in caplog.text
    caplog.clear()
    push_model(tmp_path, REPO, render=lambda *_: {"README.md": b"# A model"}, **how)
    assert 'the card names no license. Give one with `license="apache-2.0"`.' in caplog.text
    caplog.clear()
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    push_model(tmp_path, REPO, **how)
    assert not caplog.text

"""Files and folders are there whole or not at all, and on the disk before anything relies on them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hf_relabel.builders.disk.atomic_file import write_whole, written_whole
from hf_relabel.builders.disk.atomic_folder import new_folder
from hf_relabel.builders.errors import BuildError
from tests.disk_watch import disk_watch, failing_ever_later


def test_a_file_is_on_the_disk_before_it_gets_its_name_and_the_name_before_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = disk_watch(monkeypatch)
    write_whole(tmp_path / "file", b"text")
    (_, written), *_ = calls
    assert written.parent == tmp_path
    assert calls[:3] == [("synced", written), ("renamed", tmp_path / "file"), ("synced", tmp_path)]
    assert os.listdir(tmp_path) == ["file"]


def test_writing_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    for number in failing_ever_later(monkeypatch, lambda: write_whole(path, b"new")):
        assert path.read_bytes() == (b"earlier" if number < 2 else b"new")
        assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(TypeError), written_whole(path) as file:
        file.writelines([b"half of", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"new"
    with pytest.raises(BuildError, match=r"missing.file cannot be written: No such file"):
        write_whole(tmp_path / "missing" / "file", b"")


@pytest.mark.parametrize("name", ["", ".", "folder"])
def test_a_folder_is_no_file_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(BuildError, match="is a folder"):
        write_whole(Path(name), b"text")
    assert os.listdir(tmp_path) == ["folder"]


def test_two_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with written_whole(path) as one, written_whole(path) as other:
        one.write(b"1" * 10)
        other.write(b"2" * 5)
    assert path.read_bytes() == b"1" * 10


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_takes_no_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "file", b"first", replaces=False)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "file", b"second", replaces=False)
    assert (tmp_path / "file").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def _write(target: Path, text: str) -> None:
    with new_folder(target, is_ours=lambda _: True) as folder:
        (folder.path / "inner" / "deeper").mkdir(parents=True)
        (folder.path / "inner" / "deeper" / "file").write_text(text)
        folder.write("manifest", text.encode())
        folder.keep_others(ours=())


@pytest.mark.parametrize("exchanges", [True, False])
def test_all_of_a_folder_is_on_the_disk_before_the_earlier_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    target = tmp_path / "out"
    _write(target, "first")
    (target / "inner" / "mine").write_text("the user's")
    if not exchanges:
        monkeypatch.setattr("hf_relabel.builders.disk.atomic_folder.sys.platform", "darwin")
    calls = disk_watch(monkeypatch)
    _write(target, "second")
    building = tmp_path / ".out.building-new"
    placed = max(number for number, call in enumerate(calls) if call == ("renamed", target))
    on_disk = {path.relative_to(building) for what, path in calls[:placed] if what == "synced"}
    files = {"manifest", "inner/mine", "inner/deeper/file", "inner/deeper", "inner", "."}
    assert on_disk == {Path(name) for name in files}
    then = [(what, path.name) for what, path in calls[placed + 1 :]]
    assert then[:2] == [("synced", tmp_path.name), ("removed", f".out.building-{'new' if exchanges else 'old'}")]
    assert (target / "inner" / "mine").read_text() == "the user's"


def test_a_folder_is_the_earlier_or_the_new_one_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    _write(target, "first")
    for _ in failing_ever_later(monkeypatch, lambda: _write(target, "second")):
        found = {path.read_text() for path in target.rglob("*") if path.is_file()}
        assert found in ({"first"}, {"second"})
    assert found == {"second"}


def test_a_file_of_others_stays_where_a_folder_is_to_be(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "inner").write_text("the user's")
    with pytest.raises(BuildError, match=r"inner is no folder\. Move it elsewhere\."):
        _write(target, "second")
    assert (target / "inner").read_text() == "the user's"


def test_a_mount_point_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "out")
    with pytest.raises(BuildError, match=r"out is a mount point.* Give a folder in it\."):
        _write(tmp_path / "out", "text")

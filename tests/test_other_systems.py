"""What only Linux has is done without elsewhere: each system call that macOS or Windows lacks is taken away in turn."""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.disk import atomic_folder as folder_swap
from hf_relabel.builders.disk.atomic_file import sync_folder
from hf_relabel.builders.disk.atomic_folder import new_folder
from hf_relabel.builders.errors import BuildError, JournalError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.hub_tools.hub.memory import give_back_large_blocks
from hf_relabel.trainers.training import machine
from tests import forked

_WITHOUT_UNIX_MODULES = """
import sys, pathlib, warnings
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
warnings.simplefilter("ignore")  # filelock says that only its softer lock is left
import pkgutil, importlib, hf_relabel
for package in ("builders", "cards", "hub_tools"):
    root = importlib.import_module(f"hf_relabel.{package}")
    for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
from hf_relabel.builders.errors import JournalError
from hf_relabel.builders.journal.store import Journal
path = sys.argv[1]
with Journal(path):
    try:
        Journal(path)
    except JournalError as error:
        print(error)
with Journal(path):
    print("opened again")
"""


def test_without_the_modules_of_unix_everything_imports_and_the_journal_has_one_writer(tmp_path: Path) -> None:
    done = forked.run(_WITHOUT_UNIX_MODULES, str(tmp_path / "journal.sqlite"), cwd=tmp_path, modules=())
    assert done.returncode == 0, done.stderr
    refused, again = done.stdout.strip().splitlines()
    assert "another process is writing to it" in refused
    assert again == "opened again"


def test_a_journal_may_be_closed_by_another_thread_and_opened_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    with pytest.raises(JournalError, match="another process is writing"):
        Journal(tmp_path / "journal.sqlite")
    asyncio.run(asyncio.to_thread(journal._lock.release))  # type: ignore[union-attr]
    journal.close()
    Journal(tmp_path / "journal.sqlite").close()


def test_folders_that_cannot_be_opened_are_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _like_windows(monkeypatch)
    sync_folder(tmp_path)
    _write(tmp_path / "out", "text")


def test_without_an_exchange_of_folders_the_new_one_takes_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    _write(tmp_path / "out", "first")
    _write(tmp_path / "out", "second")
    assert (tmp_path / "out" / "file").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_with_an_open_file_stays_as_it_is_and_the_error_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "out", "first")
    _like_windows(monkeypatch)
    monkeypatch.setattr(sys, "platform", "win32")
    rename = Path.rename

    def refuses_open_folders(path: Path, target: Path) -> Path:
        if path.name == "out":
            raise PermissionError(13, "Access is denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuses_open_folders)
    with pytest.raises(BuildError, match=r"cannot be replaced.*close it and build again"):
        _write(tmp_path / "out", "second")
    assert (tmp_path / "out" / "file").read_text() == "first"
    assert not (tmp_path / ".out.building-old").exists()


def test_a_lock_file_that_cannot_be_removed_while_it_is_held_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def keeps_locks(path: Path, missing_ok: bool = False) -> None:
        if path.name.endswith("lock"):
            raise PermissionError(13, "The process cannot access the file")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", keeps_locks)
    _write(tmp_path / "out", "first")
    _write(tmp_path / "out", "second")
    assert (tmp_path / "out" / "file").read_text() == "second"


@pytest.mark.parametrize("library", [TypeError("no handle of the program"), OSError("no such library"), object()])
def test_memory_is_left_alone_where_the_c_library_is_another(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str | None) -> Any:
        asked.append(name)
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    give_back_large_blocks()
    assert asked == [None]


def test_the_machine_is_described_without_proc_and_sysconf(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = builtins.open

    def without_proc(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file).startswith("/proc"):
            raise FileNotFoundError(file)
        return opened(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", without_proc)
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    found = machine.hardware(object())
    assert (found.processor, found.cores, found.memory) == ("arm", os.cpu_count(), None)


def _like_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one thing of Windows that matters here: folders cannot be opened."""
    opened = os.open

    def refuses_folders(path: Any, *arguments: Any, **options: Any) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuses_folders)
    monkeypatch.setattr("hf_relabel.builders.disk.atomic_file._CAN_OPEN_FOLDERS", False)


def _write(target: Path, text: str) -> None:
    with new_folder(target, is_ours=lambda folder: True) as folder:
        (folder.path / "file").write_text(text)


def test_the_simulated_system_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where folders count as openable, the refusal comes through: the tests above can fail."""
    _like_windows(monkeypatch)
    monkeypatch.setattr("hf_relabel.builders.disk.atomic_file._CAN_OPEN_FOLDERS", True)
    with pytest.raises(PermissionError):
        sync_folder(tmp_path)
    assert folder_swap.sync_folder is sync_folder

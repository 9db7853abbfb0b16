"""A folder of judgements is the earlier one or the new one, wherever its writing stops."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_relabel.builders.errors import BuildError, CardError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judges.offline.truth import TruthJudge
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.qrels import extending
from tests.trainers.qrels.tiny_set import tiny_set, truth_file

STEPS = ("link_or_copy", "write_tsv", "write_records", "readme")


@pytest.fixture
def extend(tmp_path: Path) -> Callable[..., Any]:
    """Extends `tiny` into `out`, with the judgements of a truth file."""
    folder = tiny_set(tmp_path)

    def extended(**how: Any) -> Any:
        work = extending.pool_documents(folder, [str(tmp_path / "first.trec")], tmp_path / "out")
        judge(work.source(), TruthJudge(str(truth_file(tmp_path))), tmp_path / "journal.sqlite", progress=None)
        with Journal(tmp_path / "journal.sqlite", write=False) as journal:
            return extending.extend(work, journal, **how)

    return extended


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def failing_after(step: Any, calls: int, error: BaseException) -> Callable[..., Any]:
    """The step, which does its work so many times, and then only half of it."""
    left = iter(range(calls))

    def done(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise error
        return step(*arguments)

    return done


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("error", "raised"), [(OSError(errno.ENOSPC, "No space left on device"), BuildError), (KeyboardInterrupt(),) * 2]
)
def test_what_was_there_stays_as_it_was(
    extend: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: Any, raised: Any
) -> None:
    extend()
    (tmp_path / "out" / "mine.txt").write_text("the user's")
    before = contents(tmp_path / "out")
    original = getattr(extending, step)
    calls = 1 if step in ("link_or_copy", "write_records") else 0
    with monkeypatch.context() as patch:
        patch.setattr(extending, step, failing_after(original, calls, error))
        with pytest.raises(raised if isinstance(raised, type) else KeyboardInterrupt) as stopped:
            extend(grade=2)
    if raised is BuildError:
        assert str(stopped.value) == f"{tmp_path / 'out'} cannot be written: No space left on device."
    assert contents(tmp_path / "out") == before
    assert not list(tmp_path.glob(".out*"))
    extend(grade=2)
    assert read_beir(tmp_path / "out").qrels["q2"]["b2"] == 2
    assert (tmp_path / "out" / "mine.txt").read_text() == "the user's"


@pytest.mark.parametrize(("content", "error"), [(b"\xff\xfe", BuildError), (b"---\nconfigs: 3\n---\n", CardError)])
def test_a_readme_that_cannot_be_merged_with_leaves_all_as_it_was(
    extend: Callable[..., Any], tmp_path: Path, content: bytes, error: type[Exception]
) -> None:
    extend()
    (tmp_path / "out" / "README.md").write_bytes(content)
    before = contents(tmp_path / "out")
    with pytest.raises(error, match=r"README\.md"):
        extend(grade=2)
    assert contents(tmp_path / "out") == before


def test_a_set_of_links_into_a_cache_is_whole_in_its_new_place(extend: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        (tmp_path / "tiny" / name).rename(tmp_path / "blobs" / name)
        (tmp_path / "tiny" / name).symlink_to(Path("..") / "blobs" / name)
    (tmp_path / "deeper").mkdir()
    extend()
    (tmp_path / "out").rename(tmp_path / "deeper" / "out")
    assert read_beir(tmp_path / "deeper" / "out").qrels["q1"] == {"a": 2, "a2": 1}

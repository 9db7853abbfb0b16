"""What the documentation of `huggingface_hub` and `datasets` promises, as checks against the Hub at `HF_ENDPOINT`.

Each check has a repository of its own, named after it. Run as a module it prints one JSON line per check.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    HfFileSystem,
    ModelCard,
    ModelCardData,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    metadata_update,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils import build_hf_headers, get_session

Check = Callable[["Repo"], None]
CHECKS: dict[str, Check] = {}
BIG = 6_000_000


class Repo:
    """The repository of one check, and the calls with its name filled in."""

    def __init__(self, name: str, repo_type: str = "dataset") -> None:
        self.api, self.type = HfApi(), repo_type
        self.id = f"user/{name.replace('_', '-')}"
        self.other = HfApi(token=os.environ["OTHER_TOKEN"])
        self.nobody = HfApi(token=False)

    @property
    def here(self) -> dict[str, str]:
        return {"repo_id": self.id, "repo_type": self.type}

    def put(self, path: str, content: bytes, **options: Any) -> Any:
        return self.api.upload_file(path_or_fileobj=content, path_in_repo=path, **self.here, **options)

    def get(self, path: str, **options: Any) -> bytes:
        return Path(hf_hub_download(filename=path, **self.here, **options)).read_bytes()

    def files(self, **options: Any) -> list[str]:
        return [path for path in self.api.list_repo_files(**self.here, **options) if path != ".gitattributes"]

    def head(self, path: str, token: str) -> Any:
        return get_hf_file_metadata(hf_hub_url(self.id, path, repo_type=self.type), token=token)

    def commit(self, *operations: Any, **options: Any) -> Any:
        return self.api.create_commit(operations=operations, commit_message="a change", **self.here, **options)

    def sha(self, revision: str = "main") -> str:
        return str(self.api.repo_info(**self.here, revision=revision).sha)


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


def raises(kind: type[Exception], call: Callable[[], Any], status: int | None = None) -> Any:
    try:
        call()
    except kind as error:
        got = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None and got != status:
            raise AssertionError(f"status {got}, not {status}") from error
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


def noise(size: int, seed: int = 0) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


# Who and where


@check
def whoami_names_the_user(repo: Repo) -> None:
    assert repo.api.whoami()["name"] == "user"
    assert repo.other.whoami()["name"] == "other"


@check
def whoami_refuses_a_wrong_token(repo: Repo) -> None:
    raises(HfHubHTTPError, lambda: HfApi(token="hf_wrong").whoami(), 401)


@check
def a_repository_is_made_once(repo: Repo) -> None:
    name = f"{repo.id}-new"
    url = repo.api.create_repo(name, repo_type="dataset")
    assert (url.repo_id, url.repo_type) == (name, "dataset")
    raises(HfHubHTTPError, lambda: repo.api.create_repo(name, repo_type="dataset"), 409)
    assert repo.api.create_repo(name, repo_type="dataset", exist_ok=True).repo_id == name


@check
def a_name_without_a_user_is_the_callers(repo: Repo) -> None:
    assert repo.api.create_repo("a-short-name", repo_type="model").repo_id == "user/a-short-name"


@check
def a_repository_of_somebody_else_is_not_made(repo: Repo) -> None:
    raises(HfHubHTTPError, lambda: repo.api.create_repo("other/mine", repo_type="dataset"), 403)


@check
def types_have_names_of_their_own(repo: Repo) -> None:
    for kind, options in (("model", {}), ("space", {"space_sdk": "gradio"})):
        repo.api.create_repo(repo.id, repo_type=kind, **options)
        repo.api.upload_file(path_or_fileobj=kind.encode(), path_in_repo="kind", repo_id=repo.id, repo_type=kind)
    repo.put("kind", b"dataset")
    for kind in ("model", "dataset", "space"):
        assert Path(hf_hub_download(repo.id, "kind", repo_type=kind)).read_bytes() == kind.encode()


@check
def a_space_says_its_sdk(repo: Repo) -> None:
    repo.api.create_repo(repo.id, repo_type="space", space_sdk="gradio")
    assert repo.api.space_info(repo.id).sdk == "gradio"


@check
def a_deleted_repository_is_gone(repo: Repo) -> None:
    repo.api.delete_repo(**repo.here)
    assert not repo.api.repo_exists(**repo.here)
    raises(RepositoryNotFoundError, lambda: repo.api.delete_repo(**repo.here))
    repo.api.delete_repo(**repo.here, missing_ok=True)


@check
def a_moved_repository_keeps_its_history(repo: Repo) -> None:
    sha = repo.put("a", b"1").oid
    repo.api.move_repo(repo.id, f"{repo.id}-moved", repo_type="dataset")
    assert repo.api.dataset_info(f"{repo.id}-moved").sha == sha


@check
def who_asks_for_the_old_name_of_a_repository_is_sent_on(repo: Repo) -> None:
    sha = repo.put("a", b"1").oid
    repo.api.move_repo(repo.id, f"{repo.id}-2", repo_type="dataset")
    repo.api.move_repo(f"{repo.id}-2", f"{repo.id}-3", repo_type="dataset")
    assert (repo.api.dataset_info(repo.id).id, repo.sha()) == (f"{repo.id}-3", sha)
    assert repo.get("a", force_download=True) == b"1"
    assert repo.put("b", b"2").oid == repo.api.dataset_info(f"{repo.id}-3").sha
    assert not repo.nobody.repo_exists("user/never-made", repo_type="dataset")
    repo.api.create_repo(**repo.here)
    assert repo.api.dataset_info(repo.id).id == repo.id


@check
def a_repository_without_a_user_is_said_to_be_missing(repo: Repo) -> None:
    """The Hub has some of those; here there is none."""
    for kind in ("model", "dataset", "space"):
        assert repo.api.repo_exists("gpt2", repo_type=kind) is False
        assert repo.api.file_exists("gpt2", "config.json", repo_type=kind) is False
    raises(RepositoryNotFoundError, lambda: repo.api.model_info("gpt2"), 404)
    raises(RepositoryNotFoundError, lambda: repo.nobody.dataset_info("squad", revision="main"), 401)
    raises(RepositoryNotFoundError, lambda: hf_hub_download("gpt2", "config.json"))


@check
def lists_are_filtered_and_sorted(repo: Repo) -> None:
    name = repo.id.removeprefix("user/")
    card = "---\ntags: [{0}, both]\nlicense: mit\nlanguage: en\n---\n"
    for number in (1, 2):
        made = f"{repo.id}-{number}"
        repo.api.create_repo(made, repo_type="dataset")
        content = card.format(f"tag-{number}").encode()
        repo.api.upload_file(path_or_fileobj=content, path_in_repo="README.md", repo_id=made, repo_type="dataset")
    repo.api.update_repo_settings(f"{repo.id}-2", repo_type="dataset", gated="auto")

    def listed(**options: Any) -> list[str]:
        return [found.id.removeprefix(repo.id) for found in repo.api.list_datasets(search=name, **options)]

    assert sorted(listed(filter="both")) == ["-1", "-2"]
    assert listed(filter=["both", "tag-2"]) == ["-2"]
    assert sorted(listed(filter="license:mit", language="en")) == ["-1", "-2"]
    assert listed(filter="never") == []
    assert listed(gated=True) == ["-2"]
    assert listed(sort="created_at") == ["-2", "-1", ""]
    assert listed(sort="created_at", limit=1) == ["-2"]


@check
def a_repository_is_duplicated(repo: Repo) -> None:
    repo.put("big.bin", noise(20_000))
    repo.put("a.txt", b"a")
    url = repo.api.duplicate_repo(repo.id, f"{repo.id}-copy", repo_type="dataset")
    assert url.repo_id == f"{repo.id}-copy"
    copy = {"repo_id": f"{repo.id}-copy", "repo_type": "dataset"}
    assert sorted(repo.api.list_repo_files(**copy)) == [".gitattributes", "a.txt", "big.bin"]
    assert Path(hf_hub_download(filename="big.bin", **copy)).read_bytes() == noise(20_000)
    raises(HfHubHTTPError, lambda: repo.api.duplicate_repo(repo.id, f"{repo.id}-copy", repo_type="dataset"), 409)
    raises(HfHubHTTPError, lambda: repo.other.duplicate_repo(repo.id, "user/theirs", repo_type="dataset"), 403)


@check
def a_history_is_squashed(repo: Repo) -> None:
    for number in range(3):
        repo.put(f"{number}.txt", b"x")
    repo.api.super_squash_history(**repo.here, commit_message="All in one")
    assert [commit.title for commit in repo.api.list_repo_commits(**repo.here)] == ["All in one"]
    assert repo.files() == ["0.txt", "1.txt", "2.txt"]
    raises(HfHubHTTPError, lambda: repo.other.super_squash_history(**repo.here), 403)


@check
def what_gitignore_names_is_left_out(repo: Repo) -> None:
    repo.put(".gitignore", b"*.log\n!kept.log\n")
    repo.commit(*(CommitOperationAdd(name, b"x") for name in ("a.log", "kept.log", "b.txt")))
    assert repo.files() == [".gitignore", "b.txt", "kept.log"]
    rule = CommitOperationAdd(".gitignore", b"b*\n")  # what is sent along goes before what is there
    repo.commit(rule, CommitOperationAdd("c.log", b"x"), CommitOperationAdd("bb.txt", b"x"))
    assert repo.files() == [".gitignore", "b.txt", "c.log", "kept.log"]


@check
def a_request_has_an_id(repo: Repo) -> None:
    error = raises(RepositoryNotFoundError, lambda: repo.api.dataset_info("user/never-made"))
    assert error.request_id
    assert error.request_id in str(error)


@check
def access_to_a_gated_repository_is_checked(repo: Repo) -> None:
    repo.other.auth_check(**repo.here)
    raises(HfHubHTTPError, lambda: repo.other.auth_check(**repo.here, write=True), 403)
    repo.api.update_repo_settings(**repo.here, gated="manual")
    raises(GatedRepoError, lambda: repo.other.auth_check(**repo.here), 403)
    raises(GatedRepoError, lambda: repo.nobody.auth_check(**repo.here), 401)
    repo.api.auth_check(**repo.here, write=True)
    raises(RepositoryNotFoundError, lambda: repo.api.auth_check("user/never-made", repo_type="dataset"))


@check
def a_comment_is_edited_and_hidden(repo: Repo) -> None:
    number = repo.api.create_discussion(title="A question", **repo.here).num
    here = {"discussion_num": number, **repo.here}
    comment = repo.api.comment_discussion(comment="frist", **here)
    edited = repo.api.edit_discussion_comment(comment_id=comment.id, new_content="first", **here)
    assert (edited.content, edited.edited, edited.number_of_edits) == ("first", True, 1)
    raises(
        HfHubHTTPError,
        lambda: repo.other.edit_discussion_comment(comment_id=comment.id, new_content="theirs", **here),
        403,
    )
    raises(HfHubHTTPError, lambda: repo.api.edit_discussion_comment(comment_id="0" * 24, new_content="x", **here), 404)
    hidden = repo.api.hide_discussion_comment(comment_id=comment.id, **here)
    assert hidden.hidden is True
    assert "first" not in str(repo.api.get_discussion_details(**here).events[-1])


@check
def a_draft_is_an_open_pull_request(repo: Repo) -> None:
    drafted = repo.api.create_pull_request(title="Not yet", **repo.here)
    assert drafted.status == "draft"

    def with_status(status: Any) -> list[int]:
        return [found.num for found in repo.api.get_repo_discussions(**repo.here, discussion_status=status)]

    assert (with_status("open"), with_status("closed")) == ([drafted.num], [])
    repo.api.change_discussion_status(discussion_num=drafted.num, new_status="open", **repo.here)
    assert repo.api.get_discussion_details(discussion_num=drafted.num, **repo.here).status == "open"


@check
def repositories_are_listed_by_author(repo: Repo) -> None:
    names = [found.id for found in repo.api.list_datasets(author="user")]
    assert repo.id in names
    assert not list(repo.api.list_datasets(author="nobody"))
    assert [found.id for found in repo.api.list_datasets(search=repo.id.removeprefix("user/"))] == [repo.id]


# Private, missing, gated


@check
def a_private_repository_is_its_owners(repo: Repo) -> None:
    repo.put("secret.txt", b"secret")
    repo.api.update_repo_settings(**repo.here, visibility="private")
    assert repo.api.dataset_info(repo.id).private is True
    assert repo.get("secret.txt", force_download=True) == b"secret"
    raises(RepositoryNotFoundError, lambda: repo.nobody.dataset_info(repo.id), 401)
    raises(RepositoryNotFoundError, lambda: repo.other.dataset_info(repo.id), 404)
    assert not repo.other.repo_exists(**repo.here)
    raises(RepositoryNotFoundError, lambda: repo.other.list_repo_files(**repo.here))
    raises(
        RepositoryNotFoundError,
        lambda: repo.head("secret.txt", os.environ["OTHER_TOKEN"]),
    )
    assert repo.id not in [found.id for found in repo.other.list_datasets(author="user")]


@check
def a_private_repository_can_be_made_so(repo: Repo) -> None:
    repo.api.create_repo(f"{repo.id}-2", repo_type="dataset", private=True)
    assert repo.api.dataset_info(f"{repo.id}-2").private is True


@check
def a_missing_repository_is_said_so(repo: Repo) -> None:
    raises(RepositoryNotFoundError, lambda: repo.api.dataset_info("user/never-made"), 404)
    raises(RepositoryNotFoundError, lambda: repo.nobody.dataset_info("user/never-made"), 401)
    assert repo.api.repo_exists("user/never-made", repo_type="dataset") is False


@check
def a_missing_revision_is_said_so(repo: Repo) -> None:
    raises(RevisionNotFoundError, lambda: repo.api.dataset_info(repo.id, revision="never"), 404)
    raises(RevisionNotFoundError, lambda: repo.get(".gitattributes", revision="never"))
    assert repo.api.revision_exists(**repo.here, revision="never") is False
    assert repo.api.revision_exists(**repo.here, revision="main") is True


@check
def a_missing_file_is_said_so(repo: Repo) -> None:
    raises(EntryNotFoundError, lambda: repo.get("never.txt"))
    assert repo.api.file_exists(repo.id, "never.txt", repo_type="dataset") is False
    assert repo.api.file_exists(repo.id, ".gitattributes", repo_type="dataset") is True


@check
def a_gated_repository_is_seen_but_not_read(repo: Repo) -> None:
    repo.put("a.txt", b"a")
    repo.api.update_repo_settings(**repo.here, gated="manual")
    assert repo.other.dataset_info(repo.id).gated == "manual"
    raises(GatedRepoError, lambda: repo.head("a.txt", os.environ["OTHER_TOKEN"]))
    repo.api.update_repo_settings(**repo.here, gated=False)
    assert Path(repo.other.hf_hub_download(filename="a.txt", **repo.here)).read_bytes() == b"a"


@check
def somebody_else_may_not_write(repo: Repo) -> None:
    raises(HfHubHTTPError, lambda: repo.other.upload_file(path_or_fileobj=b"x", path_in_repo="x", **repo.here), 403)
    raises(HfHubHTTPError, lambda: repo.other.create_tag(tag="v1", **repo.here), 403)
    raises(HfHubHTTPError, lambda: repo.other.delete_repo(**repo.here), 403)
    assert repo.files() == []


# Uploads


@check
def a_small_file_comes_back(repo: Repo) -> None:
    info = repo.put("folder/a.txt", b"hello", commit_message="Say hello")
    assert repo.get("folder/a.txt") == b"hello"
    assert repo.sha() == info.oid
    assert repo.api.list_repo_commits(**repo.here)[0].title == "Say hello"


@check
def an_empty_file_comes_back(repo: Repo) -> None:
    repo.put("empty.txt", b"")
    repo.put("empty.bin", b"")
    assert repo.get("empty.txt") == b""
    assert repo.get("empty.bin") == b""


@check
def a_large_file_comes_back(repo: Repo) -> None:
    content = noise(BIG)
    repo.put("big.bin", content)
    assert repo.get("big.bin") == content


@check
def a_large_file_that_compresses_comes_back(repo: Repo) -> None:
    content = b"".join(b"line %d of a text that repeats\n" % (number % 1000) for number in range(200_000))
    repo.put("big.bin", content)
    assert repo.get("big.bin") == content


@check
def numbers_come_back(repo: Repo) -> None:
    import numpy as np

    content = np.arange(1_000_000, dtype=np.float32).tobytes()  # what byte grouping is for
    repo.put("numbers.bin", content)
    assert repo.get("numbers.bin") == content


@check
def a_large_file_from_a_path_and_a_stream(repo: Repo) -> None:
    content = noise(1_500_000, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bin"
        path.write_bytes(content)
        repo.api.upload_file(path_or_fileobj=str(path), path_in_repo="path.bin", **repo.here)
        with path.open("rb") as file:
            repo.api.upload_file(path_or_fileobj=file, path_in_repo="file.bin", **repo.here)
    repo.api.upload_file(path_or_fileobj=io.BytesIO(content), path_in_repo="stream.bin", **repo.here)
    assert {repo.get(name) for name in ("path.bin", "file.bin", "stream.bin")} == {content}


@check
def a_changed_part_of_a_large_file(repo: Repo) -> None:
    content = bytearray(noise(BIG, 2))
    repo.put("big.bin", bytes(content))
    content[3_000_000:3_000_010] = b"0123456789"
    repo.put("big.bin", bytes(content))
    assert repo.get("big.bin") == bytes(content)


@check
def parquet_is_always_large(repo: Repo) -> None:
    repo.put("small.parquet", b"PAR1 not really")
    (entry,) = repo.api.get_paths_info(paths=["small.parquet"], **repo.here)
    assert entry.lfs is not None
    assert entry.lfs.size == entry.size == 15


@check
def the_same_content_under_two_names(repo: Repo) -> None:
    content = noise(1_000_000, 3)
    repo.commit(CommitOperationAdd("a.bin", content), CommitOperationAdd("b.bin", content))
    assert repo.get("a.bin") == repo.get("b.bin") == content


@check
def the_same_file_again_makes_no_commit(repo: Repo) -> None:
    repo.put("a.txt", b"1")
    repo.put("b.bin", noise(1000))
    before = repo.sha()
    repo.put("a.txt", b"1")
    repo.put("b.bin", noise(1000))
    assert repo.sha() == before


@check
def a_file_is_replaced(repo: Repo) -> None:
    repo.put("a", b"1")
    first = repo.sha()
    repo.put("a", b"2")
    assert repo.get("a") == b"2"
    assert repo.get("a", revision=first) == b"1"


@check
def a_text_becomes_large_and_small_again(repo: Repo) -> None:
    repo.put("a.txt", b"text")
    repo.put("a.txt", b"\0\1\2 binary")
    assert repo.get("a.txt") == b"\0\1\2 binary"
    repo.put("a.txt", b"text again")
    assert repo.get("a.txt") == b"text again"


@check
def names_with_spaces_and_letters_of_all_kinds(repo: Repo) -> None:
    for name in ("a b.txt", "ü/ß é.txt", "日本語.txt", "100%.txt", "a+b&c=d#e?f.txt", "[x].txt", "'quoted'.txt"):
        repo.put(name, name.encode())
        assert repo.get(name) == name.encode(), name
        assert name in repo.files()


@check
def a_folder_is_uploaded_with_patterns(repo: Repo) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.txt", "b.log", "sub/c.txt", "sub/d.bin"):
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(name.encode())
        repo.api.upload_folder(folder_path=folder, path_in_repo="in", ignore_patterns="*.log", **repo.here)
    assert repo.files() == ["in/a.txt", "in/sub/c.txt", "in/sub/d.bin"]
    assert repo.get("in/sub/d.bin") == b"sub/d.bin"


@check
def a_folder_takes_the_place_of_files(repo: Repo) -> None:
    repo.commit(CommitOperationAdd("data/old.txt", b"1"), CommitOperationAdd("keep.txt", b"2"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "new.txt").write_bytes(b"3")
        repo.api.upload_folder(folder_path=folder, path_in_repo="data", delete_patterns="*", **repo.here)
    assert repo.files() == ["data/new.txt", "keep.txt"]


@check
def many_files_in_one_commit(repo: Repo) -> None:
    repo.commit(*(CommitOperationAdd(f"many/{number:04}.txt", str(number).encode()) for number in range(300)))
    assert len(repo.files()) == 300
    assert repo.get("many/0123.txt") == b"123"


@check
def a_file_is_sent_before_its_commit(repo: Repo) -> None:
    content = noise(2_000_000, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.parquet"
        path.write_bytes(content)
        operation = CommitOperationAdd("early.parquet", str(path))
        repo.api.preupload_lfs_files(repo.id, [operation], repo_type="dataset")
        path.unlink()  # as `datasets` does
        assert repo.files() == []
        operation.path_in_repo = "data/late.parquet"
        repo.commit(operation)
    assert repo.get("data/late.parquet") == content


@check
def an_upload_in_the_background(repo: Repo) -> None:
    future = repo.put("a.txt", b"later", run_as_future=True)
    done = future.result()
    assert repo.sha() == done.oid


# Copies and deletions


@check
def files_are_copied(repo: Repo) -> None:
    repo.commit(CommitOperationAdd("a.txt", b"text"), CommitOperationAdd("a.bin", noise(200_000)))
    repo.commit(CommitOperationCopy("a.txt", "b.txt"), CommitOperationCopy("a.bin", "sub/b.bin"))
    assert repo.get("b.txt") == b"text"
    assert repo.get("sub/b.bin") == noise(200_000)


@check
def an_old_file_is_copied(repo: Repo) -> None:
    first = repo.put("a.bin", noise(100_000, 1)).oid
    repo.put("a.bin", noise(100_000, 2))
    repo.commit(CommitOperationCopy("a.bin", "old.bin", src_revision=first))
    assert repo.get("old.bin") == noise(100_000, 1)


@check
def a_file_is_deleted(repo: Repo) -> None:
    repo.put("a", b"1")
    repo.api.delete_file("a", **repo.here)
    assert repo.files() == []
    raises(EntryNotFoundError, lambda: repo.api.delete_file("a", **repo.here))


@check
def a_folder_is_deleted(repo: Repo) -> None:
    repo.commit(*(CommitOperationAdd(name, b"1") for name in ("a/b/c", "a/d", "e")))
    repo.api.delete_folder("a", **repo.here)
    assert repo.files() == ["e"]


@check
def files_are_deleted_by_pattern(repo: Repo) -> None:
    repo.commit(*(CommitOperationAdd(name, b"1") for name in ("a.txt", "b.txt", "c.md")))
    repo.api.delete_files(delete_patterns=["*.txt"], **repo.here)
    assert repo.files() == ["c.md"]


@check
def a_file_is_moved_in_one_commit(repo: Repo) -> None:
    repo.put("a", b"1")
    repo.commit(CommitOperationCopy("a", "b"), CommitOperationDelete("a"))
    assert repo.files() == ["b"]


@check
def a_commit_with_a_mistake_changes_nothing(repo: Repo) -> None:
    before = repo.sha()
    raises(EntryNotFoundError, lambda: repo.commit(CommitOperationAdd("a", b"1"), CommitOperationDelete("never")))
    assert repo.sha() == before
    assert repo.files() == []


# Commits


@check
def a_commit_on_the_right_parent(repo: Repo) -> None:
    first = repo.put("a", b"1").oid
    assert repo.put("a", b"2", parent_commit=first).oid == repo.sha()


@check
def a_commit_on_a_stale_parent_is_refused(repo: Repo) -> None:
    first = repo.put("a", b"1").oid
    repo.put("a", b"2")
    raises(HfHubHTTPError, lambda: repo.put("a", b"3", parent_commit=first), 412)
    assert repo.get("a") == b"2"


@check
def what_is_refused_is_told_in_the_hubs_words(repo: Repo) -> None:
    first = repo.put("folder/a", b"1").oid
    repo.put("b", b"2")
    told = raises(HfHubHTTPError, lambda: repo.put("b", b"3", parent_commit=first), 412)
    assert "The branch was updated since you opened this page" in str(told)
    repo.api.create_branch(branch="side", **repo.here)
    told = raises(HfHubHTTPError, lambda: repo.api.create_branch(branch="side", **repo.here), 409)
    assert "Reference refs/heads/side already exists" in str(told)
    told = raises(HfHubHTTPError, lambda: repo.api.delete_branch(branch="main", **repo.here), 403)
    assert "Cannot delete refs/heads/main" in str(told)
    told = raises(HfHubHTTPError, lambda: repo.api.delete_branch(branch="gone", **repo.here), 404)
    assert "Invalid rev id" in str(told)
    raises(HfHubHTTPError, lambda: repo.put("b", b"4", create_pr=True, revision=first), 404)
    assert all(commit.formatted_title for commit in repo.api.list_repo_commits(formatted=True, **repo.here))
    repo.api.delete_file("folder", **repo.here)
    assert "folder/a" not in repo.api.list_repo_files(**repo.here)


@check
def a_large_file_that_came_by_xet_goes_by_xet(repo: Repo) -> None:
    content = os.urandom(300_000) * 2 + b"end"
    repo.put("a.bin", content)
    told = repo.head("a.bin", os.environ["HF_TOKEN"]).xet_file_data
    assert (told is None) == constants.HF_HUB_DISABLE_XET
    (listed,) = repo.api.get_paths_info(paths=["a.bin"], **repo.here)
    assert listed.xet_hash == (told and told.file_hash)
    assert repo.get("a.bin") == content
    if told is None:
        return
    cas = get_session().get(told.refresh_route, headers=build_hf_headers()).json()
    place = f"{cas['casUrl']}/v1/reconstructions/{told.file_hash}"
    headers = {"Authorization": f"Bearer {cas['accessToken']}"}
    whole = get_session().get(place, headers=headers).json()
    assert sum(term["unpacked_length"] for term in whole["terms"]) == len(content)
    end = get_session().get(place, headers={**headers, "Range": f"bytes={len(content) - 3}-"}).json()
    assert end["terms"] == whole["terms"][-1:]
    assert end["offset_into_first_range"] == whole["terms"][-1]["unpacked_length"] - 3
    beyond = get_session().get(place, headers={**headers, "Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    ((parts, *_),) = end["fetch_info"].values()
    assert get_session().get(parts["url"].partition("?")[0]).status_code == 401
    assert get_session().post(place.replace("reconstructions", "shards"), headers=headers).status_code == 401


@check
def more_commits_than_a_page(repo: Repo) -> None:
    for number in range(60):
        repo.put("a", str(number).encode(), commit_message=f"number {number}")
    titles = [commit.title for commit in repo.api.list_repo_commits(**repo.here)]
    assert titles == [*(f"number {number}" for number in reversed(range(60))), "initial commit"]


@check
def commits_say_who_and_what(repo: Repo) -> None:
    repo.put("a", b"1", commit_message="title", commit_description="the reason")
    commit = repo.api.list_repo_commits(**repo.here)[0]
    assert (commit.title, commit.message, commit.authors) == ("title", "the reason", ["user"])
    assert commit.created_at.tzinfo is not None


@check
def threads_that_commit_lose_nothing(repo: Repo) -> None:
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            for part in range(3):
                repo.put(f"{number}-{part}", b"1")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(repo.files()) == 18
    assert len(repo.api.list_repo_commits(**repo.here)) == 19


# Branches and tags


@check
def a_branch_is_apart(repo: Repo) -> None:
    repo.put("a", b"main")
    repo.api.create_branch(branch="dev", **repo.here)
    repo.put("a", b"dev", revision="dev")
    assert (repo.get("a"), repo.get("a", revision="dev")) == (b"main", b"dev")
    raises(HfHubHTTPError, lambda: repo.api.create_branch(branch="dev", **repo.here), 409)
    repo.api.create_branch(branch="dev", exist_ok=True, **repo.here)
    repo.api.delete_branch(branch="dev", **repo.here)
    raises(RevisionNotFoundError, lambda: repo.files(revision="dev"))


@check
def a_branch_starts_where_it_is_told(repo: Repo) -> None:
    first = repo.put("a", b"1").oid
    repo.put("a", b"2")
    repo.api.create_branch(branch="old", revision=first, **repo.here)
    assert repo.sha("old") == first


@check
def a_branch_with_a_slash(repo: Repo) -> None:
    repo.api.create_branch(branch="feature/one", **repo.here)
    repo.put("a", b"1", revision="feature/one")
    assert repo.get("a", revision="feature/one") == b"1"


@check
def the_main_branch_stays(repo: Repo) -> None:
    raises(HfHubHTTPError, lambda: repo.api.delete_branch(branch="main", **repo.here), 403)


@check
def a_tag_stays_where_it_is(repo: Repo) -> None:
    repo.put("a", b"1")
    repo.api.create_tag(tag="v1.0.0", tag_message="the first", **repo.here)
    repo.put("a", b"2")
    assert repo.get("a", revision="v1.0.0") == b"1"
    raises(HfHubHTTPError, lambda: repo.api.create_tag(tag="v1.0.0", **repo.here), 409)
    repo.api.create_tag(tag="v1.0.0", exist_ok=True, **repo.here)
    assert repo.get("a", revision="v1.0.0", force_download=True) == b"1"


@check
def a_tag_of_an_old_commit(repo: Repo) -> None:
    first = repo.put("a", b"1").oid
    repo.put("a", b"2")
    repo.api.create_tag(tag="old", revision=first, **repo.here)
    assert repo.sha("old") == first
    raises(RevisionNotFoundError, lambda: repo.api.create_tag(tag="x", revision="never", **repo.here))


@check
def a_deleted_tag_is_gone(repo: Repo) -> None:
    repo.api.create_tag(tag="v1", **repo.here)
    repo.api.delete_tag(tag="v1", **repo.here)
    assert repo.api.list_repo_refs(**repo.here).tags == []
    raises(RevisionNotFoundError, lambda: repo.api.delete_tag(tag="v1", **repo.here))


@check
def refs_are_listed(repo: Repo) -> None:
    repo.api.create_tag(tag="v1", **repo.here)
    repo.api.create_branch(branch="dev", **repo.here)
    refs = repo.api.list_repo_refs(**repo.here)
    assert {ref.name for ref in refs.branches} == {"main", "dev"}
    assert [(ref.name, ref.ref, ref.target_commit) for ref in refs.tags] == [("v1", "refs/tags/v1", repo.sha())]


# Pull requests and discussions


@check
def a_pull_request_is_opened_and_merged(repo: Repo) -> None:
    repo.put("a", b"1")
    info = repo.put("b", b"2", create_pr=True, commit_message="Add b", commit_description="because")
    assert (info.pr_num, info.pr_revision) == (1, "refs/pr/1")
    assert repo.files() == ["a"]
    assert repo.get("b", revision="refs/pr/1") == b"2"
    repo.put("c", b"3", revision="refs/pr/1")
    details = repo.api.get_discussion_details(discussion_num=1, **repo.here)
    assert (details.title, details.status, details.is_pull_request) == ("Add b", "open", True)
    assert [event.type for event in details.events] == ["comment", "commit", "commit"]
    repo.api.merge_pull_request(discussion_num=1, **repo.here)
    assert repo.files() == ["a", "b", "c"]
    details = repo.api.get_discussion_details(discussion_num=1, **repo.here)
    assert details.status == "merged"
    assert details.merge_commit_oid == repo.sha()


@check
def a_pull_request_of_somebody_else(repo: Repo) -> None:
    repo.other.upload_file(path_or_fileobj=b"x", path_in_repo="x", create_pr=True, **repo.here)
    (found,) = repo.api.get_repo_discussions(**repo.here)
    assert (found.author, found.is_pull_request) == ("other", True)
    raises(HfHubHTTPError, lambda: repo.other.merge_pull_request(discussion_num=1, **repo.here), 403)
    assert repo.files() == []


@check
def a_pull_request_keeps_what_came_to_main(repo: Repo) -> None:
    repo.put("a", b"1")
    repo.put("b", b"2", create_pr=True)
    repo.put("c", b"3")
    repo.api.merge_pull_request(discussion_num=1, **repo.here)
    assert repo.files() == ["a", "b", "c"]


@check
def a_pull_request_that_conflicts_is_not_merged(repo: Repo) -> None:
    repo.put("a", b"1")
    repo.put("a", b"theirs", create_pr=True)
    repo.put("a", b"ours")
    assert repo.api.get_discussion_details(discussion_num=1, **repo.here).conflicting_files == ["a"]
    raises(HfHubHTTPError, lambda: repo.api.merge_pull_request(discussion_num=1, **repo.here))
    assert repo.get("a") == b"ours"


@check
def an_empty_pull_request_is_filled(repo: Repo) -> None:
    request = repo.api.create_pull_request(title="Soon", **repo.here)
    assert request.status == "draft"
    repo.put("a", b"1", revision=f"refs/pr/{request.num}")
    repo.api.change_discussion_status(discussion_num=request.num, new_status="open", **repo.here)
    repo.api.merge_pull_request(discussion_num=request.num, **repo.here)
    assert repo.files() == ["a"]


@check
def a_discussion_is_held(repo: Repo) -> None:
    talk = repo.api.create_discussion(title="Hello", description="What is this?", **repo.here)
    comment = repo.other.comment_discussion(discussion_num=talk.num, comment="<b>A set</b>", **repo.here)
    assert (comment.content, comment.author) == ("<b>A set</b>", "other")
    repo.api.rename_discussion(discussion_num=talk.num, new_title="Hello again", **repo.here)
    repo.api.change_discussion_status(discussion_num=talk.num, new_status="closed", **repo.here)
    details = repo.api.get_discussion_details(discussion_num=talk.num, **repo.here)
    assert (details.title, details.status) == ("Hello again", "closed")
    assert [event.type for event in details.events] == ["comment", "comment", "title-change", "status-change"]


@check
def discussions_are_listed_by_kind(repo: Repo) -> None:
    repo.api.create_discussion(title="talk", **repo.here)
    repo.put("a", b"1", create_pr=True)
    kinds = {kind: [d.title for d in repo.api.get_repo_discussions(**repo.here, discussion_type=kind)]
             for kind in ("discussion", "pull_request")}  # fmt: skip
    assert kinds["discussion"] == ["talk"]
    assert len(kinds["pull_request"]) == 1
    refs = repo.api.list_repo_refs(**repo.here, include_pull_requests=True)
    assert [ref.ref for ref in refs.pull_requests] == ["refs/pr/2"]


# Trees and paths


@check
def a_tree_is_listed_level_by_level(repo: Repo) -> None:
    repo.commit(*(CommitOperationAdd(name, b"1") for name in ("a/b/c.txt", "a/d.txt", "e.txt")))
    top = {entry.path: type(entry) for entry in repo.api.list_repo_tree(**repo.here)}
    assert top == {".gitattributes": RepoFile, "a": RepoFolder, "e.txt": RepoFile}
    inside = [entry.path for entry in repo.api.list_repo_tree(path_in_repo="a", **repo.here)]
    assert sorted(inside) == ["a/b", "a/d.txt"]
    everything = [entry.path for entry in repo.api.list_repo_tree(**repo.here, recursive=True)]
    assert sorted(everything) == [".gitattributes", "a", "a/b", "a/b/c.txt", "a/d.txt", "e.txt"]
    raises(EntryNotFoundError, lambda: list(repo.api.list_repo_tree(path_in_repo="never", **repo.here)))


@check
def a_tree_larger_than_a_page(repo: Repo) -> None:
    repo.commit(*(CommitOperationAdd(f"{number:05}", b"1") for number in range(1500)))
    assert len(list(repo.api.list_repo_tree(**repo.here))) == 1501
    assert len(repo.files()) == 1500


@check
def a_tree_says_who_wrote_last(repo: Repo) -> None:
    first = repo.put("a", b"1", commit_message="first").oid
    repo.put("b", b"1", commit_message="second")
    entries = {entry.path: entry for entry in repo.api.list_repo_tree(**repo.here, expand=True)}
    assert (entries["a"].last_commit.oid, entries["a"].last_commit.title) == (first, "first")
    assert entries["b"].last_commit.title == "second"


@check
def paths_are_told_about(repo: Repo) -> None:
    content = noise(500_000)
    repo.commit(CommitOperationAdd("a/b.txt", b"hello"), CommitOperationAdd("c.bin", content))
    found = {entry.path: entry for entry in repo.api.get_paths_info(paths=["a", "a/b.txt", "c.bin", "no"], **repo.here)}
    assert set(found) == {"a", "a/b.txt", "c.bin"}
    assert isinstance(found["a"], RepoFolder)
    assert (found["a/b.txt"].size, found["a/b.txt"].lfs) == (5, None)
    import hashlib

    assert found["a/b.txt"].blob_id == hashlib.sha1(b"blob 5\0hello").hexdigest()
    assert found["c.bin"].lfs.sha256 == hashlib.sha256(content).hexdigest()


@check
def an_info_lists_files_with_sizes(repo: Repo) -> None:
    repo.commit(CommitOperationAdd("a.txt", b"hello"), CommitOperationAdd("b.bin", noise(1000)))
    plain = repo.api.dataset_info(repo.id)
    assert [file.rfilename for file in plain.siblings] == [".gitattributes", "a.txt", "b.bin"]
    sizes = {file.rfilename: file for file in repo.api.dataset_info(repo.id, files_metadata=True).siblings}
    assert (sizes["a.txt"].size, sizes["b.bin"].lfs.size) == (5, 1000)
    assert plain.author == "user"
    assert plain.last_modified is not None


# Downloads


@check
def a_download_is_kept(repo: Repo) -> None:
    repo.put("a", b"1")
    first = hf_hub_download(filename="a", **repo.here)
    assert hf_hub_download(filename="a", **repo.here) == first
    assert hf_hub_download(filename="a", **repo.here, local_files_only=True) == first


@check
def a_download_by_sha_tag_and_branch_is_one_file(repo: Repo) -> None:
    sha = repo.put("a.bin", noise(10_000)).oid
    repo.api.create_tag(tag="v1", **repo.here)
    paths = {os.path.realpath(hf_hub_download(filename="a.bin", **repo.here, revision=r)) for r in (sha, "v1", "main")}
    assert len(paths) == 1


@check
def a_download_into_a_folder(repo: Repo) -> None:
    repo.put("sub/a", b"1")
    with tempfile.TemporaryDirectory() as folder:
        hf_hub_download(filename="sub/a", **repo.here, local_dir=folder)
        assert (Path(folder) / "sub" / "a").read_bytes() == b"1"


@check
def metadata_of_a_file(repo: Repo) -> None:
    content = noise(300_000)
    sha = repo.commit(CommitOperationAdd("a.txt", b"hello"), CommitOperationAdd("b.bin", content)).oid
    small = get_hf_file_metadata(hf_hub_url(repo.id, "a.txt", repo_type="dataset"))
    large = get_hf_file_metadata(hf_hub_url(repo.id, "b.bin", repo_type="dataset"))
    assert small.commit_hash == large.commit_hash == sha
    assert (small.size, large.size) == (5, 300_000)
    import hashlib

    assert large.etag == hashlib.sha256(content).hexdigest()


@check
def a_snapshot_with_patterns(repo: Repo) -> None:
    repo.commit(*(CommitOperationAdd(name, name.encode()) for name in ("a.txt", "b.md", "sub/c.txt")))
    folder = Path(snapshot_download(**repo.here, allow_patterns="*.txt"))
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == ["a.txt", "sub/c.txt"]


@check
def parts_of_a_file_are_read(repo: Repo) -> None:
    content = noise(2_000_000, 5)
    repo.put("a.bin", content)
    files = HfFileSystem(skip_instance_cache=True)
    with files.open(f"datasets/{repo.id}/a.bin", block_size=65536) as file:
        file.seek(1_234_567)
        assert file.read(1000) == content[1_234_567:1_235_567]
        file.seek(-10, 2)
        assert file.read() == content[-10:]
    assert files.cat_file(f"datasets/{repo.id}/a.bin", start=5, end=9) == content[5:9]


@check
def a_file_system_lists_and_finds(repo: Repo) -> None:
    repo.commit(*(CommitOperationAdd(name, b"12345") for name in ("a/b.txt", "a/c.md", "d.txt")))
    files = HfFileSystem(skip_instance_cache=True)
    root = f"datasets/{repo.id}"
    assert sorted(files.ls(f"{root}/a", detail=False)) == [f"{root}/a/b.txt", f"{root}/a/c.md"]
    assert sorted(files.glob(f"{root}/**/*.txt")) == [f"{root}/a/b.txt", f"{root}/d.txt"]
    assert files.info(f"{root}/d.txt")["size"] == 5
    assert files.exists(f"{root}/a")
    assert not files.exists(f"{root}/never")


@check
def a_file_system_writes_and_removes(repo: Repo) -> None:
    files = HfFileSystem(skip_instance_cache=True)
    with files.open(f"datasets/{repo.id}/new.txt", "wb") as file:
        file.write(b"written")
    assert repo.get("new.txt") == b"written"
    files.rm(f"datasets/{repo.id}/new.txt")
    assert repo.files() == []


# Cards


@check
def a_card_is_pushed_and_read(repo: Repo) -> None:
    card = DatasetCard("---\nlicense: mit\nlanguage: [en, de]\ntags: [one]\n---\n# Title\n")
    card.push_to_hub(repo.id)
    assert DatasetCard.load(repo.id).text.strip() == "# Title"
    info = repo.api.dataset_info(repo.id)
    assert (info.card_data.license, info.card_data.language) == ("mit", ["en", "de"])
    assert "one" in info.tags


@check
def a_card_that_is_no_yaml_is_refused(repo: Repo) -> None:
    raises(Exception, lambda: repo.put("README.md", b"---\nlicense: [mit\n---\n# Title\n"))
    assert "README.md" not in repo.files()


@check
def metadata_is_updated(repo: Repo) -> None:
    repo.put("README.md", b"---\nlicense: mit\n---\n# Mine\n")
    metadata_update(repo.id, {"tags": ["new"]}, repo_type="dataset")
    card = DatasetCard.load(repo.id)
    assert (card.data.license, card.data.tags) == ("mit", ["new"])
    assert card.text.strip() == "# Mine"


@check
def a_model_card_has_results(repo: Repo) -> None:
    repo.api.create_repo(repo.id, repo_type="model")
    data = ModelCardData(license="mit", library_name="sentence-transformers", tags=["x"], pipeline_tag="text-ranking")
    ModelCard.from_template(data, template_str="---\n{{ card_data }}\n---\n# A model").push_to_hub(repo.id)
    info = repo.api.model_info(repo.id)
    assert (info.library_name, info.pipeline_tag) == ("sentence-transformers", "text-ranking")


# datasets


def rows(number: int, start: int = 0) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {
            "id": list(range(start, start + number)),
            "passages": [[{"docid": f"d{index}", "text": "text " * 3}] for index in range(number)],
        }
    )


@check
def a_dataset_comes_back(repo: Repo) -> None:
    rows(500).push_to_hub(repo.id)
    loaded = datasets.load_dataset(repo.id, split="train")
    assert loaded.to_list() == rows(500).to_list()


@check
def a_dataset_streams(repo: Repo) -> None:
    rows(500).push_to_hub(repo.id)
    stream = datasets.load_dataset(repo.id, split="train", streaming=True)
    assert [row["id"] for row in stream] == list(range(500))
    assert stream.features is not None


@check
def splits_and_shards_come_back(repo: Repo) -> None:
    datasets.DatasetDict({"train": rows(100), "test": rows(20, 100)}).push_to_hub(repo.id, num_shards={"train": 4})
    loaded = datasets.load_dataset(repo.id)
    assert {name: len(part) for name, part in loaded.items()} == {"train": 100, "test": 20}
    assert loaded["test"][0]["id"] == 100
    assert len([name for name in repo.files() if "train-" in name]) == 4


@check
def an_iterable_dataset_is_pushed(repo: Repo) -> None:
    rows(50).to_iterable_dataset(num_shards=2).push_to_hub(repo.id)
    assert len(datasets.load_dataset(repo.id, split="train")) == 50


@check
def configs_are_apart(repo: Repo) -> None:
    rows(10).push_to_hub(repo.id, "one", set_default=True)
    rows(20).push_to_hub(repo.id, "two")
    assert datasets.get_dataset_config_names(repo.id) == ["one", "two"]
    assert len(datasets.load_dataset(repo.id, "two", split="train")) == 20
    assert len(datasets.load_dataset(repo.id, split="train")) == 10


@check
def a_dataset_by_tag(repo: Repo) -> None:
    rows(10).push_to_hub(repo.id)
    repo.api.create_tag(tag="v1.0.0", **repo.here)
    rows(30).push_to_hub(repo.id)
    assert len(datasets.load_dataset(repo.id, split="train", revision="v1.0.0")) == 10
    assert len(datasets.load_dataset(repo.id, split="train")) == 30


@check
def a_dataset_from_named_files(repo: Repo) -> None:
    lines = "".join(json.dumps({"a": number}) + "\n" for number in range(5))
    repo.put("data/rows.jsonl", lines.encode())
    loaded = datasets.load_dataset(repo.id, data_files="data/rows.jsonl", split="train")
    assert loaded["a"][:] == [0, 1, 2, 3, 4]


@check
def a_private_dataset(repo: Repo) -> None:
    name = f"{repo.id}-hidden"
    rows(5).push_to_hub(name, private=True)
    raises(
        DatasetNotFoundError,
        lambda: datasets.load_dataset(name, split="train", token=os.environ["OTHER_TOKEN"]),
    )
    assert len(datasets.load_dataset(name, split="train")) == 5


@check
def a_dataset_as_a_pull_request(repo: Repo) -> None:
    rows(5).push_to_hub(repo.id)
    rows(9).push_to_hub(repo.id, create_pr=True)
    assert len(datasets.load_dataset(repo.id, split="train")) == 5
    assert len(datasets.load_dataset(repo.id, split="train", revision="refs/pr/1")) == 9


def main(names: list[str]) -> None:
    """Run checks and print what came of each."""
    datasets.disable_progress_bars()
    for name, function in CHECKS.items():
        if names and name not in names:
            continue
        repo = Repo(name)
        error = None
        try:
            repo.api.create_repo(**repo.here)
            function(repo)
        except BaseException:
            error = traceback.format_exc()[-1500:]
        print(json.dumps({"check": name, "error": error}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""What the documentation of `huggingface_hub` and `datasets` promises of buckets; checks beside those of `checks`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import datasets
from huggingface_hub import HfApi, HfFileSystem, constants
from huggingface_hub.cli.hf import app
from huggingface_hub.errors import (
    BucketNotFoundError,
    EntryNotFoundError,
    HfHubHTTPError,
)
from huggingface_hub.utils import build_hf_headers, get_session

from tests.hub_tools.client_suite.checks import BIG, Repo, check, main, noise, raises, rows


class Bucket:
    """The bucket of one check."""

    def __init__(self, repo: Repo, *, private: bool | None = None, **files: bytes) -> None:
        self.api, self.other, self.nobody = repo.api, repo.other, repo.nobody
        self.id = self.api.create_bucket(f"{repo.id}-bucket", private=private).bucket_id
        self.uri = f"hf://buckets/{self.id}"
        if files:
            self.put(**files)

    def put(self, **files: bytes) -> None:
        """Add files; `__` stands for a slash in their names, and `_` for a dot."""
        named = {name.replace("__", "/").replace("_", "."): content for name, content in files.items()}
        self.api.batch_bucket_files(self.id, add=[(content, path) for path, content in named.items()])

    def get(self, path: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "file")
            self.api.download_bucket_files(self.id, [(path, target)], raise_on_missing_files=True)
            return target.read_bytes()

    def paths(self, prefix: str | None = None, api: HfApi | None = None, **options: bool) -> list[str]:
        return [entry.path for entry in (api or self.api).list_bucket_tree(self.id, prefix, **options)]


def _web(bucket: Bucket, path: str, **headers: str):  # type: ignore[no-untyped-def] - httpx2's
    url = f"{constants.ENDPOINT}/buckets/{bucket.id}/resolve/{path}"
    return get_session().get(url, headers={**build_hf_headers(), **headers})


@check
def a_bucket_is_made_once_moved_and_deleted(repo: Repo) -> None:
    bucket = Bucket(repo, a_txt=b"abc")
    raises(HfHubHTTPError, lambda: repo.api.create_bucket(bucket.id), 409)
    assert repo.api.create_bucket(bucket.id, exist_ok=True).bucket_id == bucket.id
    assert repo.api.create_bucket("short-bucket").bucket_id == "user/short-bucket"
    info = repo.api.bucket_info(bucket.id)
    assert (info.private, info.size, info.total_files) == (False, 3, 1)
    repo.api.move_bucket(bucket.id, f"{repo.id}-moved")
    raises(BucketNotFoundError, lambda: repo.api.bucket_info(bucket.id), 404)
    bucket.id = f"{repo.id}-moved"
    assert bucket.get("a.txt") == b"abc"
    raises(HfHubHTTPError, lambda: repo.api.move_bucket(bucket.id, "user/short-bucket"), 409)
    repo.api.delete_bucket(bucket.id)
    raises(BucketNotFoundError, lambda: repo.api.delete_bucket(bucket.id), 404)
    repo.api.delete_bucket(bucket.id, missing_ok=True)


@check
def buckets_are_listed_to_who_may_see_them(repo: Repo) -> None:
    names = [f"{repo.id}-{number}" for number in range(2)]
    for name, private in zip(names, (True, False), strict=True):
        repo.api.create_bucket(name, private=private)
    word = names[0].split("/")[1].removesuffix("-0")
    assert [bucket.id for bucket in repo.api.list_buckets(search=word)] == names
    assert [bucket.id for bucket in repo.other.list_buckets(namespace="user", search=word)] == names[1:]
    assert [bucket.id for bucket in repo.nobody.list_buckets(namespace="user", search=word)] == names[1:]
    assert not list(repo.other.list_buckets(search=word))
    raises(HfHubHTTPError, lambda: list(repo.nobody.list_buckets()), 401)
    raises(HfHubHTTPError, lambda: list(repo.api.list_buckets(namespace="nobody-of-this-name")), 404)


@check
def a_private_bucket_is_its_owners(repo: Repo) -> None:
    bucket = Bucket(repo, private=True, secret_txt=b"abc")
    assert bucket.paths() == ["secret.txt"]
    raises(BucketNotFoundError, lambda: bucket.paths(api=repo.other), 404)
    raises(BucketNotFoundError, lambda: bucket.paths(api=repo.nobody), 401)
    raises(HfHubHTTPError, lambda: repo.other.get_bucket_file_metadata(bucket.id, "secret.txt"), 404)
    copy = ("bucket", bucket.id, next(iter(repo.api.list_bucket_tree(bucket.id))).xet_hash, "taken.txt")
    mine = repo.other.create_bucket(f"other/{bucket.id.split('/')[1]}").bucket_id
    raises(HfHubHTTPError, lambda: repo.other.batch_bucket_files(mine, copy=[copy]), 422)
    repo.api.update_bucket_settings(bucket.id, private=False)
    assert bucket.paths(api=repo.nobody) == ["secret.txt"]


@check
def a_bucket_of_somebody_else_is_not_changed(repo: Repo) -> None:
    bucket = Bucket(repo, a_txt=b"abc")
    raises(HfHubHTTPError, lambda: repo.api.create_bucket("other/mine"), 403)
    raises(HfHubHTTPError, lambda: repo.other.batch_bucket_files(bucket.id, delete=["a.txt"]), 403)
    raises(HfHubHTTPError, lambda: repo.other.delete_bucket(bucket.id), 403)
    raises(HfHubHTTPError, lambda: repo.other.move_bucket(bucket.id, "other/taken"), 403)
    raises(HfHubHTTPError, lambda: repo.api.move_bucket(bucket.id, "other/given"), 403)
    raises(HfHubHTTPError, lambda: repo.other.update_bucket_settings(bucket.id, private=True), 403)
    raises(HfHubHTTPError, lambda: repo.nobody.delete_bucket(bucket.id), 401)
    assert bucket.paths() == ["a.txt"]


@check
def files_of_a_bucket_come_and_go(repo: Repo) -> None:
    big = noise(BIG)
    bucket = Bucket(repo, big_bin=big, empty_txt=b"", sub__a_txt=b"abc")
    assert bucket.get("big.bin") == big
    assert bucket.get("empty.txt") == b""
    assert bucket.get("sub/a.txt") == b"abc"
    bucket.put(sub__a_txt=b"other")
    assert bucket.get("sub/a.txt") == b"other"
    told = {info.path: info for info in repo.api.get_bucket_paths_info(bucket.id, ["big.bin", "sub", "none"])}
    assert list(told) == ["big.bin"]
    assert told["big.bin"].size == BIG
    assert told["big.bin"].mtime is not None
    repo.api.batch_bucket_files(bucket.id, delete=["big.bin"], add=[(b"new", "new.txt")])
    assert bucket.paths() == ["empty.txt", "new.txt", "sub/a.txt"]
    raises(EntryNotFoundError, lambda: bucket.get("big.bin"))


@check
def a_batch_tells_what_failed_and_does_the_rest(repo: Repo) -> None:
    bucket = Bucket(repo, a_txt=b"abc")
    failed = raises(HfHubHTTPError, lambda: repo.api.batch_bucket_files(bucket.id, delete=["none.txt", "a.txt"]), 200)
    assert [failure["path"] for failure in failed.failures] == ["none.txt"]
    assert bucket.paths() == []
    outside = repo.api.batch_bucket_files
    raises(HfHubHTTPError, lambda: outside(bucket.id, add=[(b"x", "../up.txt")]), 422)
    raises(HfHubHTTPError, lambda: outside(bucket.id, copy=[("bucket", bucket.id, "0" * 63 + "1", "x")]), 422)
    assert bucket.paths() == []


@check
def folders_of_a_bucket(repo: Repo) -> None:
    bucket = Bucket(repo, logs__a_txt=b"a", logs__deep__b_txt=b"b", logs_json=b"{}", logsold__c_txt=b"c")
    assert bucket.paths(recursive=False) == ["logs", "logs.json", "logsold"]
    assert bucket.paths("logs/", recursive=False) == ["logs/a.txt", "logs/deep"]
    # A prefix is the start of a text.
    assert bucket.paths("logs") == ["logs.json", "logs/a.txt", "logs/deep/b.txt", "logsold/c.txt"]
    folder = next(entry for entry in repo.api.list_bucket_tree(bucket.id, recursive=False) if entry.path == "logs")
    assert folder.type == "directory"
    assert folder.uploaded_at is not None


@check
def long_lists_of_a_bucket_come_in_pages(repo: Repo) -> None:
    bucket = Bucket(repo)
    names = [f"{number:04}.txt" for number in range(1002)]
    repo.api.batch_bucket_files(bucket.id, add=[(b"one", "0000.txt")])
    copied = next(iter(repo.api.list_bucket_tree(bucket.id))).xet_hash
    repo.api.batch_bucket_files(bucket.id, copy=[("bucket", bucket.id, copied, name) for name in names[1:]])
    assert bucket.paths() == names
    assert len(list(repo.api.get_bucket_paths_info(bucket.id, names))) == len(names)


@check
def parts_of_a_file_of_a_bucket(repo: Repo) -> None:
    bucket = Bucket(repo, sub__a_html=b"0123456789")
    assert _web(bucket, "sub/a.html").content == b"0123456789"
    part = _web(bucket, "sub%2Fa.html", Range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"234")
    assert part.headers["content-type"].startswith("application/octet-stream")
    assert "sandbox" in part.headers["content-security-policy"]
    assert _web(bucket, "none.txt").status_code == 404
    assert repo.api.get_bucket_file_metadata(bucket.id, "sub/a.html").size == 10


@check
def a_folder_is_synced_with_a_bucket(repo: Repo) -> None:
    bucket = Bucket(repo)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for path, content in {"a.txt": b"a", "sub/b.bin": noise(100_000), ".git/HEAD": b"ref"}.items():
            Path(first, path).parent.mkdir(exist_ok=True)
            Path(first, path).write_bytes(content)
        assert repo.api.sync_bucket(first, bucket.uri, quiet=True).summary()["uploads"] == 3
        assert repo.api.sync_bucket(first, bucket.uri, quiet=True).summary()["skips"] == 3
        assert repo.api.sync_bucket(bucket.uri, second, quiet=True).summary()["downloads"] == 3
        assert Path(second, "sub/b.bin").read_bytes() == Path(first, "sub/b.bin").read_bytes()
        Path(first, "a.txt").unlink()
        assert repo.api.sync_bucket(first, bucket.uri, delete=True, quiet=True).summary()["deletes"] == 1
        assert repo.api.sync_bucket(f"{bucket.uri}/sub", second, quiet=True).summary()["downloads"] == 1
    assert bucket.paths() == [".git/HEAD", "sub/b.bin"]


@check
def files_are_copied_into_a_bucket(repo: Repo) -> None:
    big = noise(BIG)
    repo.put("data/big.bin", big)
    repo.put("data/small.txt", b"small")
    bucket = Bucket(repo)
    repo.api.copy_files(f"hf://datasets/{repo.id}/data/", f"{bucket.uri}/")
    repo.api.copy_files(f"{bucket.uri}/big.bin", f"{bucket.uri}/again/big.bin")
    assert bucket.paths() == ["again/big.bin", "big.bin", "small.txt"]
    assert bucket.get("again/big.bin") == big
    assert bucket.get("small.txt") == b"small"


@check
def a_bucket_as_a_file_system(repo: Repo) -> None:
    bucket = Bucket(repo, data__a_txt=b"abc")
    files = HfFileSystem(skip_instance_cache=True)
    root = f"buckets/{bucket.id}"
    with files.open(f"{root}/data/b.txt", "w") as file:
        file.write("written")
    assert files.ls(f"{root}/data", detail=False) == [f"{root}/data/a.txt", f"{root}/data/b.txt"]
    assert files.cat(f"{root}/data/b.txt") == b"written"
    with files.open(f"{root}/data/b.txt", "rb") as file:
        file.seek(3)
        assert file.read(2) == b"tt"
    assert files.glob(f"{root}/**/*.txt") == [f"{root}/data/a.txt", f"{root}/data/b.txt"]
    files.rm(f"{root}/data", recursive=True)
    assert not files.exists(f"{root}/data")
    raises(FileNotFoundError, lambda: files.ls("buckets/user/none-of-this-name"))


@check
def a_dataset_in_a_bucket(repo: Repo) -> None:
    bucket = Bucket(repo, private=True)
    rows(5).push_to_hub(f"buckets/{bucket.id}/set")
    files = [f"{bucket.uri}/{path}" for path in bucket.paths() if path.endswith(".parquet")]
    assert len(files) == 1
    loaded = datasets.load_dataset("parquet", data_files=files, split="train")
    assert loaded["id"][:] == [0, 1, 2, 3, 4]
    again = datasets.load_dataset(f"buckets/{bucket.id}/set", split="train")
    assert again["id"][:] == [0, 1, 2, 3, 4]


@check
def a_volume_of_a_job_is_a_private_bucket(repo: Repo) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "input.txt").write_bytes(b"abc")
        volume = repo.api.sync_job_volume(folder, "/inputs", remote_name="a-volume")
    assert (volume.source, volume.path) == ("user/jobs-artifacts", "a-volume")
    assert repo.api.bucket_info(volume.source).private


@check
def the_command_line_of_buckets(repo: Repo) -> None:
    from click.testing import CliRunner

    bucket = Bucket(repo, a_txt=b"abc", sub__b_txt=b"b")

    def hf(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["buckets", *arguments])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        return done.output

    assert hf("create", f"{bucket.id}-more", "--quiet").strip() == f"hf://buckets/{bucket.id}-more"
    assert bucket.id in hf("list", "--quiet").splitlines()
    assert "sub/b.txt" in hf("list", bucket.id, "--recursive", "--quiet")
    with tempfile.TemporaryDirectory() as folder:
        hf("cp", f"{bucket.uri}/a.txt", os.path.join(folder, "a.txt"))
        assert Path(folder, "a.txt").read_bytes() == b"abc"
        hf("cp", os.path.join(folder, "a.txt"), f"{bucket.uri}/c.txt")
    hf("rm", f"{bucket.id}/sub", "--recursive", "--yes")
    assert bucket.paths() == ["a.txt", "c.txt"]
    hf("delete", f"{bucket.id}-more", "--yes")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Releasing on a Hub and loading from it: time, bytes and memory, next to plain HTTP.

    python -m tests.benchmarks.bench_release [--mb 400] [--rounds 2] [--json]

The Hub is the local one, in a process of its own; every client is a process of its own with empty caches. The release
has all five configs in shards; its passages are random, so that they hardly compress. Without Xet, files go by LFS.

- upload: `push`, from the check of the folder to the tag, and beside it a PUT of the same files to an empty Hub of the
  same kind, whose names (SHA-256) are worked out before the clock starts;
- shared: the same data once more, with another config and with nothing new;
- killed: SIGKILL when half of the bytes are there, then the same command again, counted at the server;
- stream, load: `load_dataset` of one config, and beside it the same files by plain HTTP and pyarrow.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.techniques import Technique
from tests.benchmarks.measuring import Figure, emit, median_ratio, parser_of
from tests.hub_tools.release_clients import COMMAND_LINE, Client
from tests.hub_tools.releases_data import built

REPO = "user/bench"
PASSAGE_BYTES = 8_000
_TIMED = """
import json, sys, time
from pathlib import Path
{setup}
begin = time.perf_counter()
{work}
seconds = time.perf_counter() - begin
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({{"seconds": seconds, "peak_mb": peak, "found": found}}))
"""
PUSH = _TIMED.format(
    setup="import huggingface_hub.hf_api, jinja2, pyarrow.parquet\nfrom hf_relabel.hub_tools.releases.push import push",
    work="found = push(sys.argv[1], sys.argv[2], license='cc0-1.0').version",
)
STREAM = _TIMED.format(
    # Where torch is installed a stream is one of its data sets.
    setup="import datasets\nif datasets.config.TORCH_AVAILABLE: import torch.utils.data",
    work="rows = datasets.load_dataset(sys.argv[1], 'relabel', split='train', streaming=True)\n"
    "found = next(iter(rows))['query_id']",
)
STREAM_PLAIN = _TIMED.format(
    setup="import fsspec, pyarrow.parquet as pq, fsspec.implementations.http",
    work="with fsspec.open(json.loads(sys.argv[1])[0]) as file:\n"
    "    found = pq.ParquetFile(file).read_row_group(0).column('query_id')[0].as_py()",
)
LOAD = _TIMED.format(
    setup="import datasets",
    work="found = len(datasets.load_dataset(sys.argv[1], 'relabel', split='train'))",
)
LOAD_PLAIN = _TIMED.format(
    setup="import datasets, shutil, tempfile, urllib.request",
    work="""with tempfile.TemporaryDirectory() as folder:
    for number, url in enumerate(json.loads(sys.argv[1])):
        with urllib.request.urlopen(url) as answer, open(f"{folder}/{number:05}.parquet", "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
    files = sorted(map(str, Path(folder).iterdir()))
    found = len(datasets.Dataset.from_parquet(files, cache_dir=f"{folder}/cache"))""",
)


@dataclass
class Hub:
    """A local Hub in a process of its own."""

    url: str
    token: str
    log: Path
    process: subprocess.Popen[str]

    def entries(self) -> list[dict[str, Any]]:
        """What it noted of each request, as far as it is written."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def stored(self) -> list[dict[str, Any]]:
        """The requests that brought content of large files."""
        return [entry for entry in self.entries() if entry["stored"] is not None]

    def received(self) -> int:
        """Bytes of large files, chunks of them included, that came in."""
        return sum(entry["received"] for entry in self.stored())


@contextmanager
def hub(folder: Path) -> Iterator[Hub]:
    folder.mkdir()
    log = folder / "log.jsonl"
    arguments = ["hub", "serve", str(folder / "hub"), "--log", str(log), "--json"]
    process = subprocess.Popen([sys.executable, "-c", COMMAND_LINE, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Hub(told["url"], next(iter(told["tokens"].values())), log, process)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)  # there are as many copies of the release as rounds


def parquet_files(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in release_from_folder(folder).manifest["files"]}


def put(folder: Path, to: Hub) -> float:
    """Seconds it takes to PUT all files of a release, one connection, one after the other."""
    from huggingface_hub import HfApi
    from huggingface_hub.lfs import UploadInfo, post_lfs_batch_info

    api = HfApi(endpoint=to.url, token=to.token)
    api.create_repo(REPO, repo_type="dataset")
    paths = list(parquet_files(folder).values())
    infos = [UploadInfo.from_path(str(path)) for path in paths]
    actions, _, _ = post_lfs_batch_info(infos, token=to.token, repo_type="dataset", repo_id=REPO, endpoint=to.url)
    urls = {action["oid"]: urlsplit(action["actions"]["upload"]["href"]) for action in actions if action.get("actions")}
    connection = http.client.HTTPConnection(str(urlsplit(to.url).hostname), urlsplit(to.url).port)
    begin = time.perf_counter()
    for path, info in zip(paths, infos, strict=True):
        url = urls.pop(info.sha256.hex(), None)
        if url is None:
            continue  # the same content under another name
        with path.open("rb") as file:
            headers = {"Content-Length": str(info.size)}
            connection.request("PUT", f"{url.path}?{url.query}", body=file, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"PUT: {answer.status}")
    seconds = time.perf_counter() - begin
    connection.close()
    return seconds


class Bench:
    """The benchmark, with one release in `folder`."""

    def __init__(self, scratch: Path, mb: int) -> None:
        self.scratch = scratch
        self.counter = 0
        # Hexadecimal digits compress to half. The release counts as its files on the disk: four configs and verdicts.
        rows = max(20, round(mb * 1e6 / (PASSAGE_BYTES / 2 * 5 * 4)))
        shard = max(1_000_000, rows * 5 * PASSAGE_BYTES // 4)
        four = [Technique.ORIGINAL, Technique.REMOVE, Technique.REMOVE_HN, Technique.RELABEL]
        settings: dict[str, Any] = {"rows": rows, "passage_bytes": PASSAGE_BYTES, "max_shard_bytes": shard}
        self.release, self.more = scratch / "release", scratch / "more"
        built(self.release, techniques=four, **settings)
        built(self.more, techniques=[*four, Technique.RELABEL_FILTER], **settings)
        self.files = parquet_files(self.release)
        self.bytes = sum(path.stat().st_size for path in self.files.values())
        self.size = f"{self.bytes / 1e6:,.0f} MB, {len(self.files)} files"

    def folder(self) -> Path:
        self.counter += 1
        return self.scratch / f"place-{self.counter}"

    def client(self, to: Hub, *, xet: bool) -> Client:
        return Client(to.url, to.token, self.folder(), xet)

    def push(self, to: Hub, release: Path, *, xet: bool, client: Client | None = None) -> dict[str, Any]:
        done: dict[str, Any] = (client or self.client(to, xet=xet)).python(PUSH, str(release), REPO)
        return done

    def upload(self, rounds: int, *, xet: bool) -> Iterator[Figure]:
        ours, plain, received = [], [], 0
        for number in range(rounds):
            for side in ("ours", "plain") if number % 2 == 0 else ("plain", "ours"):
                with hub(self.folder()) as empty:
                    if side == "plain":
                        plain.append(put(self.release, empty))
                    else:
                        ours.append(self.push(empty, self.release, xet=xet))
                        received = empty.received()
        seconds = [run["seconds"] for run in ours]
        name = "Xet" if xet else "LFS"
        yield Figure(
            f"release pushed, {name}",
            statistics.median(seconds),
            "s",
            self.size,
            beside=f"PUT of the files {statistics.median(plain):.2f} s",
            ratio=median_ratio(seconds, plain),
            peak_mb=max(run["peak_mb"] for run in ours),
        )
        yield Figure(
            f"bytes of the first push, {name}",
            received / 1e6,
            "MB",
            self.size,
            beside=f"the files {self.bytes / 1e6:,.1f} MB",
            ratio=received / self.bytes,
            note="configs share most of their rows" if xet else "",
        )

    def shared(self, *, xet: bool) -> Iterator[Figure]:
        name = "Xet" if xet else "LFS"
        before = set(release_hashes(self.release))
        new = {sha: size for sha, size in release_hashes(self.more).items() if sha not in before}
        with hub(self.folder()) as one:
            client = self.client(one, xet=xet)
            self.push(one, self.release, xet=xet, client=client)
            first = one.received()
            again = self.push(one, self.release, xet=xet, client=client)
            nothing = one.received() - first
            self.push(one, self.more, xet=xet, client=client)
            more = one.received() - first - nothing
            names = [entry["object"] for entry in one.stored()]
        yield Figure(
            f"the same release again, {name}",
            nothing,
            "bytes sent",
            self.size,
            beside=f"first push {first / 1e6:,.1f} MB",
            target="= 0",
            note=f"{again['seconds']:.2f} s",
        )
        yield Figure(
            f"one more config, {name}: sent besides its files",
            max(0, more - sum(new.values())),
            "bytes",
            self.size,
            beside=f"its files {sum(new.values()) / 1e6:,.1f} MB, sent {more / 1e6:,.1f} MB",
            target="= 0",
            note=f"{len(names) - len(set(names))} objects sent twice",
        )

    def killed(self, *, xet: bool) -> Iterator[Figure]:
        name = "Xet" if xet else "LFS"
        with hub(self.folder()) as one:
            client = self.client(one, xet=xet)
            process = client.start(PUSH, str(self.release), REPO)
            half = self.bytes / (10 if xet else 2)  # what Xet sends is a part of the files
            while process.poll() is None and one.received() < half:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            there = one.received()
            self.push(one, self.release, xet=xet, client=client)
            times = Counter(entry["object"] for entry in one.stored())
            sizes = {entry["object"]: entry["received"] for entry in one.stored()}
        yield Figure(
            f"killed half-way, pushed again, {name}: sent twice",
            sum(sizes[one_] for one_, number in times.items() if number > 1),
            "bytes",
            self.size,
            beside=f"there when it was killed {there / 1e6:,.1f} MB",
            target="= 0",
        )

    def loading(self, rounds: int) -> Iterator[Figure]:
        shards = sorted(name for name in self.files if name.startswith("relabel/"))
        size = sum(self.files[name].stat().st_size for name in shards)
        told = f"config of {size / 1e6:,.0f} MB, {len(shards)} files"
        with hub(self.folder()) as one:
            self.push(one, self.release, xet=False)
            urls = json.dumps([f"{one.url}/datasets/{REPO}/resolve/main/{name}" for name in shards])
            sides = {"stream": (STREAM, REPO), "stream plain": (STREAM_PLAIN, urls)}
            sides |= {"load": (LOAD, REPO), "load plain": (LOAD_PLAIN, urls)}
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
            for number in range(rounds):
                for name in sides if number % 2 == 0 else reversed(list(sides)):
                    runs[name].append(self.client(one, xet=False).python(*sides[name]))
        for ours in ("stream", "load"):
            if len({run["found"] for name in (ours, f"{ours} plain") for run in runs[name]}) != 1:
                raise SystemExit(f"{ours}: the two ways found different rows")
        seconds = {name: [run["seconds"] for run in found] for name, found in runs.items()}
        for what, name, beside, target in (
            ("load_dataset(streaming=True) to the first row", "stream", "pyarrow over HTTP, a row group", "<= 2"),
            ("load_dataset", "load", "download and Dataset.from_parquet", ""),
        ):
            yield Figure(
                what,
                statistics.median(seconds[name]),
                "s",
                told,
                beside=f"{beside} {statistics.median(seconds[f'{name} plain']):.2f} s",
                ratio=median_ratio(seconds[name], seconds[f"{name} plain"]),
                target=target,
                peak_mb=max(run["peak_mb"] for run in runs[name]),
                note="imports not counted",
            )


def release_hashes(folder: Path) -> dict[str, int]:
    """Sizes of a release's files by their SHA-256."""
    return {entry["sha256"]: entry["bytes"] for entry in release_from_folder(folder).manifest["files"].values()}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--mb", type=int, default=400, help="of the release on the disk, about")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-release-") as scratch:
        bench = Bench(Path(scratch), options.mb)
        figures: list[Figure] = []
        for xet in (False, True):
            figures += [*bench.upload(options.rounds, xet=xet), *bench.shared(xet=xet), *bench.killed(xet=xet)]
        figures += bench.loading(options.rounds)
    emit("release", figures, as_json=options.json)


if __name__ == "__main__":
    main()

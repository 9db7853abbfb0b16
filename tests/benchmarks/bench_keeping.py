"""What a Job sends to keep its journal: in commits of a data set, and in a bucket.

    python -m tests.benchmarks.bench_keeping [--judgements 100000] [--new 2000] [--json]

A journal of so many judgements is kept, then again with some new ones, as every ten minutes. Bytes and requests are
those that a local Hub received for the second time, in messages and files; beside it those of the first.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars

from hf_relabel.builders.endpoint import Reply
from hf_relabel.builders.journal.keys import JudgeIdentity
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.rows import Passage, Row
from hf_relabel.hub_tools.hub.api import HubApi
from hf_relabel.hub_tools.jobs.bucket_keeping import KeptInBucket
from hf_relabel.hub_tools.jobs.keeping import Kept
from hf_relabel.hub_tools.local_hub import LocalHub
from tests.benchmarks.measuring import Figure, emit, parser_of

REPO = "user/kept"
JUDGE = JudgeIdentity("listwise", "some/model", None, {})
CANDIDATES = 20
"""Of a row, judged by one reply."""


def judge(path: Path, judgements: int, *, seed: int) -> None:
    """Add judgements to a journal, with replies of a listwise judge's length that hardly compress."""
    words = random.Random(seed)
    with Journal(path) as journal:
        for start in range(0, judgements, 50 * CANDIDATES):
            items = []
            for number in range(start, min(start + 50 * CANDIDATES, judgements), CANDIDATES):
                passages = tuple(
                    Passage(f"{seed}-{number}-{each}", "", f"{number} {each}") for each in range(CANDIDATES)
                )
                row = Row(f"{seed}-{number}", f"query {seed} {number}", (Passage("p", "", "p"),), passages)
                keys = dict(enumerate(JUDGE.keys()(row, range(CANDIDATES))))
                said = dict.fromkeys(range(CANDIDATES), Judgement(Label.IRRELEVANT, None, words.randbytes(12).hex()))
                items.append((row, keys, said, Reply(words.randbytes(300).hex(), prompt_tokens=900)))
            journal.record_replies(JUDGE, items)


def received(log: Path) -> tuple[int, int]:
    """Bytes and requests of a Hub's log so far."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return sum(line["received"] for line in lines), len(lines)


def sent(way: str, judgements: int, new: int) -> Iterator[tuple[int, int]]:
    """Bytes and requests of each keeping, by `bucket` or by `commits`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "work").mkdir()
        with LocalHub(folder / "hub", log=folder / "log") as hub:
            api = HubApi(endpoint=hub.url, token=hub.token)
            api.create_repo(REPO, repo_type="dataset", private=True)
            api.create_bucket(REPO, private=True)
            kept = (KeptInBucket if way == "bucket" else Kept)(api, REPO, folder / "work", "journal.sqlite", [])
            kept.restore()
            for seed, more in enumerate((judgements, new)):
                judge(folder / "work" / "journal.sqlite", more, seed=seed)
                before = received(folder / "log")
                kept.save_journal()
                after = received(folder / "log")
                yield after[0] - before[0], after[1] - before[1]


def figures(judgements: int, new: int) -> Iterator[Figure]:
    for what, way, by_xet in (
        ("bucket", "bucket", True),
        ("commits", "commits", True),
        ("commits, LFS", "commits", False),
    ):
        constants.HF_HUB_DISABLE_XET = not by_xet
        first, second = sent(way, judgements, new)
        size = f"{new:,} new of {judgements + new:,} judgements, {second[1]} requests"
        beside = f"first {first[0] / 1e6:.1f} MB, {first[1]} requests"
        yield Figure(f"kept by {what}", second[0] / 1e6, "MB", size, beside=beside)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--judgements", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=2000)
    options = parser.parse_args()
    disable_progress_bars()
    emit("keeping", list(figures(options.judgements, options.new)), as_json=options.json)


if __name__ == "__main__":
    main()

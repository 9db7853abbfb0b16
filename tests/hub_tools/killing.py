"""Run by test_main_job: judges the same rows again and again, killed with SIGKILL at random points, until done.

A point is a number of requests that the server has seen, so that a slow machine has the same points as a fast one.
Forks from one process that has everything imported, so that a kill costs milliseconds. Prints a JSON report.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sys
import urllib.request
from pathlib import Path

from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.judging.assemble import stages_of
from hf_relabel.hub_tools.judging.run import judge


def job_of(rows: str, url: str) -> Job:
    settings = {
        "source": {"location": rows},
        "stages": [
            {
                "judge": {"kind": "listwise", "candidates_per_prompt": 5},
                "endpoints": [{"url": url, "dialect": "tgi", "chat_template": "plain"}],
                "limits": {"concurrency": 4},
            }
        ],
    }
    return Job.model_validate(settings)


def judge_all(rows: str, url: str, journal_path: Path) -> None:
    with Journal(journal_path) as journal:
        judge(open_source(rows), stages_of(job_of(rows, url)), journal)


def end_state(rows: str, journal_path: Path) -> list[list[object]]:
    """Verdicts on every candidate, without what may differ between equal runs (nothing does but token shares)."""
    with Journal(journal_path, write=False) as journal:
        return [
            [
                numbered.number,
                verdict.position,
                verdict.outcome,
                [str(stage and stage.label) for stage in verdict.stages],
            ]
            for numbered, found in verdicts(open_source(rows), journal)
            for verdict in found
        ]


def seen(url: str) -> int:
    """Requests that the server has got."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        return int(re.search(rb"(?m)^tgi_request_count (\d+)", answer.read()).group(1))  # type: ignore[union-attr]


def killed_once(rows: str, url: str, journal_path: Path, requests: int) -> bool:
    """Judge in a child and kill it after so many requests. True if it was killed, False if it had finished."""
    before = seen(url)
    child = os.fork()
    if child == 0:
        try:
            judge_all(rows, url, journal_path)
        finally:
            os._exit(0)
    while seen(url) - before < requests:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main() -> None:
    rows, url, folder, kills = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    judge_all(rows, url, folder / "calm.sqlite")
    whole_run = seen(url)
    expected = end_state(rows, folder / "calm.sqlite")
    chance = random.Random(0)
    killed, journals, partial = 0, 0, 0
    while killed < kills:
        journals += 1
        journal_path = folder / f"killed-{journals}.sqlite"
        while killed < kills and killed_once(rows, url, journal_path, chance.randrange(whole_run)):
            killed += 1
            if journal_path.exists():
                with Journal(journal_path) as journal:
                    partial += 0 < sum(journal.counts().values()) < len(expected)
        judge_all(rows, url, journal_path)
        if end_state(rows, journal_path) != expected:
            sys.exit(f"{journal_path} ended in another state")
    print(json.dumps({"killed": killed, "journals": journals, "partial": partial, "candidates": len(expected)}))


if __name__ == "__main__":
    main()

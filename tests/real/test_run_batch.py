"""`vllm run-batch` for real: 100 requests, with the verdicts of vLLM's server on the same weights.

A quarter of an hour on two cores. Needs the environments that `make real` makes.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.quickstart import rows_path
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.commands import run
from tests.real.servers import KEY, SERVERS, VENVS, WEIGHTS, make_weights, running

REQUESTS = 100
VLLM = SERVERS["vllm"]
ARGUMENTS = (
    *("--max-model-len", "2048", "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "4"),
    *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192"),
)


def some_rows(target: Path) -> None:
    """Rows of the quickstart with so many candidates in all."""
    left, kept = REQUESTS, []
    with rows_path().open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            row["negative_passages"] = row["negative_passages"][: min(4, left)]
            left -= len(row["negative_passages"])
            kept.append(json.dumps(row))
            if not left:
                break
    target.write_text("\n".join(kept), encoding="utf-8")


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not VLLM.is_installed(), reason="vLLM is not installed: make real")
def test_a_hundred_requests_say_what_the_server_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_weights()
    weights = str(VENVS / WEIGHTS)
    some_rows(tmp_path / "rows.jsonl")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("KEY", KEY)
    for name, value in VLLM.env.items():
        monkeypatch.setenv(name, value)
    rows, batch, server = (str(tmp_path / name) for name in ("rows.jsonl", "batch.sqlite", "server.sqlite"))
    folder = str(tmp_path / "batches")
    pointwise = ["--judge", "pointwise"]
    export = ["batch", "export", rows, *pointwise, "--endpoint", f"vllm:{weights}", "--journal", batch]
    assert run([*export, "--folder", folder]) == 0
    assert run(["batch", "run", folder, "--python", str(VLLM.python), "--", *ARGUMENTS]) == 0
    with running(VLLM, tmp_path) as served:
        given = ["--endpoint", served.url, "--token-env", "KEY", "--journal", server]
        assert run(["judge", rows, *pointwise, *given]) == 0
    labels = {name: labels_of(Path(rows), Path(name)) for name in (batch, server)}
    assert len(labels[batch]) == REQUESTS
    assert labels[batch] == labels[server]


def labels_of(rows: Path, journal: Path) -> dict[tuple[str, str], str]:
    """What was said of each candidate; by its docid, since the two know the model by two names."""
    with Journal(journal, write=False) as kept:
        judged = verdicts(open_source(str(rows)), kept)
        return {
            (numbered.row.query_id, verdict.docid): str(verdict.stages[0].label)
            for numbered, of_row in judged
            for verdict in of_row
            if verdict.stages and verdict.stages[0] is not None
        }

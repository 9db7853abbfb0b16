"""What each server is put through. A check tells what it saw in a few words, or raises."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hf_relabel.builders.endpoint import Endpoint, EndpointError
from hf_relabel.builders.errors import JudgingStopped
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Label
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.tokens import token_counter
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.hub_tools.judging.stage_report import StageReport
from tests.real.recording import LISTWISE, POINTWISE, asks, requests
from tests.real.servers import LIMITED, PER_MINUTE, ROOT, VENVS, WEIGHTS, Running

CANDIDATES = 2
"""Judged of each row."""
PATIENCE = 900.0
"""A server takes minutes to start on a busy machine."""
T = TypeVar("T")


@dataclass(frozen=True)
class Drive:
    """A server that runs, and a folder for what is made on the way."""

    server: Running
    folder: Path

    def endpoint(self, **settings: Any) -> Endpoint:
        return make_endpoint(
            self.server.url, **{"token": self.server.key, "model": self.server.server.model, **settings}
        )

    def rows(self, number: int) -> Path:
        """So many rows of the set that ships with the package, with few candidates each."""
        file = self.folder / f"rows-{number}.jsonl"
        lines = (ROOT / "builders" / "quickstart" / "rows.jsonl").read_text("utf-8").splitlines()[:number]
        file.write_text("".join(json.dumps(_few(json.loads(line))) + "\n" for line in lines))
        return file

    def journal(self, name: str) -> Path:
        return self.folder / f"{name}.sqlite"

    def judge(
        self, rows: Path, which: Any, name: str, *, model: str | None = None, **limits: float
    ) -> list[StageReport]:
        """Let a judge judge rows by this server, into the journal of that name."""
        endpoint = self.endpoint(**({"model": model} if model else {}))
        bounds = Limits(concurrency=self.server.server.at_once, **limits)
        return judge(str(rows), which, self.journal(name), endpoint=endpoint, limits=bounds, progress=False)


def _few(row: dict[str, Any]) -> dict[str, Any]:
    sides = {
        "positive_passages": row["positive_passages"][:1],
        "negative_passages": row["negative_passages"][:CANDIDATES],
    }
    return {**row, **sides}


def ask(endpoint: Endpoint, work: Callable[[Endpoint], Awaitable[T]]) -> T:
    """Use an endpoint once."""

    async def once() -> T:
        try:
            return await work(endpoint)
        finally:
            await endpoint.close()

    return asyncio.run(once())


def said(report: StageReport) -> str:
    """The labels of a report."""
    counts = ", ".join(f"{number} {label}" for label, number in report.totals.items() if number)
    return f"{report.rows} rows: {counts}"


def require(holds: bool, found: object) -> None:
    """A check that fails says what it found."""
    if not holds:
        raise AssertionError(str(found))


# The checks


def found_by_asking(drive: Drive) -> str:
    """Dialect, model and context are told by the server, where it tells them."""
    expected = drive.server.server
    info = ask(drive.endpoint(), lambda endpoint: endpoint.info())
    named = expected.model or "SmolLM2-135M-Instruct"
    require(info.model == named, f"model {info.model}")
    require(info.max_total_tokens == expected.context, f"context {info.max_total_tokens}")
    given = "named by hand" if expected.model else "found"
    return f"model {given}, context {info.max_total_tokens or 'not told'}, version {info.version or 'not told'}"


def listwise(drive: Drive) -> str:
    """The listwise judge, with the grammar where the server takes one.

    The model is far too small to judge, and calls some candidates both better and worse, which counts as no answer; but
    what it writes keeps to the grammar, or is cut off in its white space.
    """
    seen = _judged(drive, "listwise", LISTWISE)
    with Journal(drive.journal("listwise"), write=False) as journal:
        replies = list(journal.replies())
    kept = sum(_keeps_to_grammar(reply) for reply in replies)
    found = f"{seen}; {kept} of {len(replies)} replies keep to the grammar"
    require(not drive.server.server.constrains or kept >= 0.8 * len(replies), found)
    return found


def _keeps_to_grammar(reply: str) -> bool:
    try:
        return set(json.loads(reply)) == {"better", "worse"}
    except (json.JSONDecodeError, TypeError):
        return False


def pointwise(drive: Drive) -> str:
    """The pointwise judge: with logprobs a score for each, without them words."""
    seen = _judged(drive, "pointwise", POINTWISE)
    if not drive.server.server.logprobs:
        return seen
    request = requests()["logprobs"]
    reply = ask(drive.endpoint(), lambda endpoint: endpoint.complete(request))
    score = POINTWISE.read(asks(POINTWISE)[0], reply)[0].score
    require(score is not None and 0 < score < 1, f"score {score} of {reply}")
    return f"{seen}; a score of {score:.3f}"


def answer(drive: Drive) -> str:
    """ARHN's two judges: quotations, which a weak model makes up, and rankings."""
    return _judged(drive, "answer", "answer")


def _judged(drive: Drive, kind: str, which: Any) -> str:
    """Judge the rows: nothing may fail. A run may end early for replies that nobody can read."""
    rows = drive.rows(drive.server.server.rows[kind])
    try:
        reports = drive.judge(rows, which, kind)
    except JudgingStopped as stopped:
        require(not drive.server.server.constrains, stopped)
        return f"stopped: {stopped}"
    require(all(report.totals[Label.FAILED] == 0 for report in reports), [said(report) for report in reports])
    return "; ".join(map(said, reports))


def tokens(drive: Drive) -> str:
    """Prompts are counted as the server counts them."""
    asked = [requests()[name] for name in ("plain", "schema", "logprobs")]

    async def both(endpoint: Endpoint) -> tuple[list[int], list[int | None], str]:
        counter = await token_counter(endpoint, None if drive.server.server.logprobs else str(VENVS / WEIGHTS))
        return await counter.count(asked), [(await endpoint.complete(r)).prompt_tokens for r in asked], counter.name

    before = _own_count(drive)
    counted, told, name = ask(drive.endpoint(), both)
    if "per token" in name:
        return f"it serves no count; guessed {counted} by characters, told {told} afterwards"
    require(counted == told, f"counted {counted}, told {told}")
    own = _own_count(drive)
    if own is None or before is None:
        return f"{sum(counted)} before and after, by the {name.split(' of ')[0].split(' served')[0]}"
    require(own - before == sum(counted), f"counted {sum(counted)}, by its metrics {own - before}")
    return f"{sum(counted)} before, after and by its metrics"


def too_long(drive: Drive) -> str:
    """A prompt over the context is refused once, in the server's words, and the server is not blamed."""
    try:
        reply = ask(drive.endpoint(), lambda endpoint: endpoint.complete(requests()["long"]))
    except EndpointError as error:
        require(not error.retryable and not error.blame_server, f"{error!r}")
        return short(error)
    return f"taken: {reply.prompt_tokens} prompt tokens"


def wrong_key(drive: Drive) -> str:
    """The command ends at once, with the server's words."""
    command = _command(drive, "wrong-key", drive.rows(2))
    began = time.monotonic()
    done = subprocess.run(
        command, env={**_env(), "THE_KEY": "wrong"}, capture_output=True, text=True, timeout=120, check=False
    )
    seconds = time.monotonic() - began
    told = [line for line in done.stderr.splitlines() if re.search(r"HTTP 40[013]", line)]
    require(done.returncode != 0 and bool(told), f"exit code {done.returncode}: {done.stderr}")
    require(seconds < 60, f"{seconds:.0f} s")
    return f"exit {done.returncode}: {short(told[-1])}"


def killed_and_started(drive: Drive) -> str:
    """The server is killed in the middle and started again: the run waits, and loses nothing."""
    journal, rows = drive.journal("killed"), drive.rows(drive.server.server.rows["some"])
    result: list[list[StageReport] | BaseException] = []

    def work() -> None:
        try:
            result.append(drive.judge(rows, POINTWISE, "killed", patience=PATIENCE))
        except BaseException as error:
            result.append(error)

    run = threading.Thread(target=work)
    run.start()
    _wait_for(lambda: _answers(journal) >= 2 or bool(result))
    drive.server.process.kill()
    kept = _answers(journal)
    drive.server.process.launch()
    down = drive.server.process.wait()
    run.join(600)
    require(bool(result) and isinstance(result[0], list), result)
    (report,) = result[0] if isinstance(result[0], list) else ()
    require(report.totals[Label.FAILED] == 0, said(report))
    return f"killed after {kept} answers, {down:.0f} s away; {said(report)}"


def interrupted(drive: Drive) -> str:
    """Ctrl-C ends the command soon, and the next one goes on from there."""
    rows, journal = drive.rows(drive.server.server.rows["some"]), drive.journal("interrupted")
    command = [*_command(drive, "interrupted", rows), "--concurrency", "2"]  # more would all be done in its grace
    env = {**_env(), "THE_KEY": drive.server.key or "none"}
    run = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait_for(lambda: _answers(journal) >= 2 or run.poll() is not None)
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = run.communicate(timeout=60)
    seconds, kept = time.monotonic() - began, _answers(journal)
    require(run.returncode == 130 and kept > 0, f"exit {run.returncode}, {kept} kept: {errors}")
    again = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    require(again.stdout.strip().startswith(("{", "[")), again.stderr)
    (report,) = json.loads(again.stdout)["stages"]
    total = report["asked"] + report["known"]
    require(report["known"] >= kept > 0 and report["asked"] > 0, report)
    return f"exit 130 after {seconds:.1f} s, {kept} of {total} kept, {report['asked']} asked anew"


def queue(drive: Drive) -> str:
    """While there is work, all of the server's slots are busy, and few requests wait at it."""
    slots, seen, over = drive.server.server.slots, list[tuple[float, float]](), threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            with suppress(
                OSError
            ):  # llama.cpp tells its metrics between two steps, which a busy machine takes long for
                seen.append(_gauges(drive))

    watcher, before = threading.Thread(target=watch), _steps(drive)
    watcher.start()
    try:
        rows = drive.rows(drive.server.server.rows["some"])
        drive.judge(rows, POINTWISE, "queue")
    finally:
        over.set()
        watcher.join()
    deepest = max((waiting for _, waiting in seen), default=0)
    busy, steps = (after - earlier for after, earlier in zip(_steps(drive), before, strict=True))
    if steps:  # llama.cpp counts the slots at work in each of its steps
        found = f"{busy / steps:.2f} of {slots} slots busy in each of {steps:.0f} steps, at most {deepest:.0f} waiting"
        require(busy >= 0.75 * slots * steps and deepest <= 64, found)
        return found
    first = next((place for place, (running, _) in enumerate(seen) if running), 0)
    last = max((place for place, (running, waiting) in enumerate(seen) if waiting or running >= slots), default=0)
    middle = seen[first : last + 1]
    full = sum(running >= slots or waiting > 0 for running, waiting in middle) / max(1, len(middle))
    found = f"{full:.0%} of {len(middle)} looks with all {slots} slots busy, at most {deepest:.0f} waiting"
    require(full >= 0.8 and deepest <= 64, found)
    return found


def rate_limit(drive: Drive) -> str:
    """A limit of requests per minute is kept to: the run takes minutes and loses nothing."""
    rows = drive.rows(3)
    began = time.monotonic()
    (report,) = drive.judge(rows, POINTWISE, "limited", model=LIMITED)
    require(report.totals[Label.FAILED] == 0, said(report))
    return f"{said(report)} at {PER_MINUTE} a minute, in {time.monotonic() - began:.0f} s"


# What they need


def _command(drive: Drive, name: str, rows: Path) -> list[str]:
    own = ["--model", drive.server.server.model] if drive.server.server.model else []
    return [
        *(str(Path(sys.executable).with_name("hf-relabel")), "judge", str(rows), "--judge", "pointwise", "--json"),
        *("--endpoint", drive.server.url, "--token-env", "THE_KEY", "--journal", str(drive.journal(name)), *own),
    ]


def _env() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1"}


def _answers(journal: Path) -> int:
    """Judgements that a journal has by now."""
    try:
        with sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5) as database:
            (answers,) = database.execute("SELECT COUNT(*) FROM answers").fetchone()
            (failures,) = database.execute("SELECT COUNT(*) FROM failures").fetchone()
    except sqlite3.OperationalError:
        return 0  # it is only being made
    return int(answers + failures)


def _wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        require(time.monotonic() < end, "nothing was judged in time")
        time.sleep(0.1)


def _metrics(drive: Drive) -> str:
    request = urllib.request.Request(f"{drive.server.url}/metrics")
    request.add_header("Authorization", f"Bearer {drive.server.key}")
    with urllib.request.urlopen(request, timeout=120) as page:
        return str(page.read().decode())


def _sum(page: str, names: Iterable[str]) -> float:
    lines = [line.split() for line in page.splitlines() if line and not line.startswith("#")]
    return sum(float(line[-1]) for line in lines if line[0].partition("{")[0] in names)


def _gauges(drive: Drive) -> tuple[float, float]:
    """Requests that the server works on, and those that wait."""
    page = _metrics(drive)
    running = _sum(page, ("vllm:num_requests_running", "llamacpp:requests_processing"))
    return running, _sum(page, ("vllm:num_requests_waiting", "llamacpp:requests_deferred"))


def _steps(drive: Drive) -> tuple[float, float]:
    """Of llama.cpp: slots that were busy, summed over its steps, and the steps."""
    page = _metrics(drive)
    steps = _sum(page, ("llamacpp:n_decode_total",))
    return steps * _sum(page, ("llamacpp:n_busy_slots_per_decode",)), steps


def _own_count(drive: Drive) -> float | None:
    """Prompt tokens that the server has read so far, by its own metrics."""
    if not drive.server.server.slots:
        return None
    names = ("vllm:prompt_tokens_total", "llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total")
    return _sum(_metrics(drive), names)


def short(text: object, most: int = 150) -> str:
    """One line of it."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


Check = Callable[[Drive], str]
ALL: dict[str, Check] = {
    "found by asking": found_by_asking,
    "tokens": tokens,
    "listwise": listwise,
    "pointwise": pointwise,
    "answer": answer,
    "too long": too_long,
    "wrong key": wrong_key,
    "queue": queue,
    "rate limit": rate_limit,
    "Ctrl-C": interrupted,
    "killed": killed_and_started,
}


def checks_of(server: Running) -> dict[str, Check]:
    """The checks that a server can be put through."""
    able = {
        "wrong key": bool(server.server.key),
        "too long": server.server.name != "transformers",  # it has no bound but the model's own
        "queue": bool(server.server.slots),
        "rate limit": server.server.name == "litellm",
    }
    return {name: check for name, check in ALL.items() if able.get(name, True)}

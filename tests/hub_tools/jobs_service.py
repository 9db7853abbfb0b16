"""A stand-in for the Jobs service, for tests: it answers in the shapes that huggingface_hub's client reads, notes every
request, and hands all other paths to a local Hub.

The service itself was never reached: what is checked against this is what the client sends and what is made of its
answers, not what the service does with them. With `runs=True` a Job's script really runs, as a process here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hf_relabel.hub_tools.local_hub.app import LocalHubApp
from hf_relabel.hub_tools.local_hub.call import Hub

TOKEN = "hf_" + "jobsTestToken0123456789abcdef"
HARDWARE = [
    {
        "name": name,
        "prettyName": name,
        "cpu": "2 vCPU",
        "ram": "16 GB",
        "accelerator": gpus
        and {"type": "gpu", "model": "A100", "quantity": gpus, "vram": "80 GB", "manufacturer": "Nvidia"},
        "unitCostMicroUSD": int(price * 1e6),
        "unitCostUSD": price,
        "unitLabel": "minute",
    }
    for name, price, gpus in (
        ("cpu-basic", 0.0002, None),
        ("a10g-large", 0.025, "1"),
        ("a100-large", 0.0417, "1"),
        ("a100x4", 0.1667, "4"),
    )
]


@dataclass
class Noted:
    """One request to the service."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: Any


@dataclass
class StartedJob:
    """One Job as the service has it."""

    id: str
    namespace: str
    spec: dict[str, Any]
    stage: str = "RUNNING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    created: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))

    def to_dict(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "id": self.id,
            "createdAt": self.created,
            "startedAt": self.created,
            "finishedAt": None,
            "dockerImage": spec.get("dockerImage"),
            "spaceId": None,
            "command": spec["command"],
            "arguments": spec["arguments"],
            "environment": spec["environment"],
            "secrets": dict.fromkeys(spec.get("secrets", {}), "***"),
            "flavor": spec["flavor"],
            "labels": spec.get("labels"),
            "volumes": spec.get("volumes"),
            "network": spec.get("network"),
            "status": {"stage": self.stage, "message": self.message},
            "durations": {"schedulingSecs": 6, "runningSecs": 90, "totalSecs": 96},
            "owner": {"id": "1", "name": self.namespace, "type": "user"},
            "initiator": None,
        }


class JobsService:
    """The service, on a free port of 127.0.0.1, in a thread.

    Args:
        runs: run the commands of Jobs: `uv run /relabel/run.py` by this Python over the mounted commit, others as they
            are. Otherwise Jobs stay `RUNNING` until told.
        path: folder put before PATH for the processes.
        refusals: statuses by image, in place of starting a Job.
    """

    def __init__(
        self, folder: Path, *, runs: bool = False, path: Path | None = None, refusals: Mapping[str, int] | None = None
    ) -> None:
        self.folder, self.runs, self.path, self.refusals = folder, runs, path, dict(refusals or {})
        self.hub = LocalHubApp(Hub.at(folder / "hub", {"user": TOKEN}))
        self.noted: list[Noted] = []
        self.jobs: dict[str, StartedJob] = {}
        self.log_answers: list[int | list[str]] = []
        """What the next requests for logs get first: a status, or lines after which the connection breaks."""
        self.log_requests = 0

    def __enter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(self, log_level="critical", access_log=False, ws="none", lifespan="off")
        config.timeout_graceful_shutdown = 2
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([listening],), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for job in self.jobs.values():
            if job.process is not None:
                # Its whole group, as a container takes all with it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(job.process.pid, signal.SIGKILL)
        self.server.should_exit = True
        self.thread.join()
        self.hub.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if not request.url.path.startswith("/api/jobs"):
            await self.hub(scope, receive, send)
            return
        raw = await request.body()
        body = json.loads(raw) if raw else None
        query = list(request.query_params.multi_items())
        self.noted.append(Noted(request.method, request.url.path, query, dict(request.headers), body))
        response = self._answer(request, body)
        await response(scope, receive, send)

    def _answer(self, request: Request, body: Any) -> Response:
        parts = request.url.path.strip("/").split("/")[2:]
        if request.method == "GET" and parts == ["hardware"]:
            return JSONResponse(HARDWARE)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": "Invalid credentials"}, 401)
        if request.method == "POST" and len(parts) == 1:
            return self._start(parts[0], body)
        if request.method == "GET" and len(parts) == 1:
            return JSONResponse([job.to_dict() for job in self.jobs.values() if self._matches(job, request)])
        job = self.jobs.get(parts[1])
        if job is None or job.namespace != parts[0]:
            return JSONResponse({"error": "Job not found"}, 404)
        if request.method == "GET" and parts[2:] == ["logs"]:
            return self._logs(job)
        if request.method == "POST" and parts[2:] == ["cancel"]:
            self._cancel(job)
        return JSONResponse(job.to_dict())

    def _matches(self, job: StartedJob, request: Request) -> bool:
        stages = request.query_params.getlist("stage")
        labels = [label.split("=", 1) for label in request.query_params.getlist("label")]
        has = job.spec.get("labels") or {}
        return (not stages or job.stage in stages) and all(has.get(name) == value for name, value in labels)

    def _start(self, namespace: str, spec: dict[str, Any]) -> Response:
        status = self.refusals.get(spec["dockerImage"])
        if status is not None:
            return JSONResponse({"error": "no"}, status)
        job = StartedJob(f"job{len(self.jobs) + 1}", namespace, spec)
        self.jobs[job.id] = job
        if self.runs:
            threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return JSONResponse(job.to_dict())

    def _logs(self, job: StartedJob) -> Response:
        self.log_requests += 1
        first: int | list[str] | None = self.log_answers.pop(0) if self.log_answers else None
        if isinstance(first, int):
            return JSONResponse({"error": "away"}, first)

        async def events() -> AsyncIterator[bytes]:
            import asyncio

            yield _event(0, "===== Job started at 2026-11-26 04:00:06 =====")
            sent = 0
            if isinstance(first, list):
                for line in first:
                    yield _event(sent, line)
                raise ConnectionResetError("broken on purpose")
            while True:
                while sent < len(job.lines):
                    yield _event(sent, job.lines[sent])
                    sent += 1
                if job.stage != "RUNNING" or self.server.should_exit:
                    return
                await asyncio.sleep(0.05)

        return StreamingResponse(events(), media_type="text/event-stream")

    def _cancel(self, job: StartedJob) -> None:
        if job.process is not None and job.process.poll() is None:
            job.process.send_signal(signal.SIGTERM)
        elif not self.runs and job.stage == "RUNNING":
            job.stage = "CANCELED"
        job.message = "cancelled"

    def _run(self, job: StartedJob) -> None:
        spec = job.spec
        command = list(spec["command"])
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment = {**clean, **spec["environment"], **spec.get("secrets", {}), "HF_ENDPOINT": self.url}
        environment |= {
            "HF_HOME": str(self.folder / f"home-{job.id}"),
            "HF_NETWORK_GROUP_PREFIX": "",
            "JOB_ID": job.id,
        }
        if self.path is not None:
            environment["PATH"] = f"{self.path}{os.pathsep}{environment['PATH']}"
        if command[:2] == ["uv", "run"]:
            (volume,) = spec["volumes"]
            mounted = self._mounted(volume, job.id)
            script = Path(command[2]).relative_to(volume["mountPath"])
            command = [sys.executable, str(mounted / script)]
        job.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            start_new_session=True,
        )
        assert job.process.stdout is not None
        with job.process.stdout as lines:
            for line in lines:
                job.lines.append(line.rstrip("\n"))
        code = job.process.wait()
        cancelled = job.message == "cancelled"
        job.stage = "CANCELED" if cancelled else "ERROR" if code else "COMPLETED"
        job.message = job.message or (f"Job failed with exit code: {code}" if code else None)

    def _mounted(self, volume: dict[str, Any], job_id: str) -> Path:
        """The commit's files as the mount shows them."""
        from huggingface_hub import HfApi

        place = self.folder / f"mounted-{job_id}"
        HfApi(endpoint=self.url, token=TOKEN).snapshot_download(
            volume["source"], repo_type="dataset", revision=volume["revision"], local_dir=place
        )
        return place / volume["path"]

    def wait_for(self, job_id: str, seconds: float = 600) -> StartedJob:
        give_up = time.monotonic() + seconds
        while self.jobs[job_id].stage == "RUNNING":
            assert time.monotonic() < give_up, "\n".join(self.jobs[job_id].lines[-20:])
            time.sleep(0.05)
        return self.jobs[job_id]

    def wait_for_line(self, job_id: str, pattern: str, seconds: float = 600) -> None:
        give_up = time.monotonic() + seconds
        while not any(re.search(pattern, line) for line in self.jobs[job_id].lines):
            assert time.monotonic() < give_up, "\n".join(self.jobs[job_id].lines[-20:])
            assert self.jobs[job_id].stage == "RUNNING", "\n".join(self.jobs[job_id].lines[-20:])
            time.sleep(0.02)


def _event(number: int, line: str) -> bytes:
    event = {"data": line, "timestamp": f"2026-11-26T04:00:{number % 60:02d}.000Z"}
    return f"data: {json.dumps(event)}\n\n".encode()


__all__ = ["TOKEN", "JobsService", "Noted", "StartedJob"]

"""What runs in the Job: it fetches what is kept, waits for the judge server, runs the job file, and saves.

    python -c "from hf_relabel.hub_tools.jobs.in_job import main; main(FOLDER)"

FOLDER holds what `submission` put there: `job.yaml` and `settings.json`. The run itself is a process of its own, so
that whatever becomes of it, what it judged is saved. The service kills a Job when its time is over, and does not say
that it warns before: so the run is told to stop a little earlier.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import JobError, RelabelError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.hub.redaction import redact, short
from hf_relabel.hub_tools.jobs.bucket_keeping import KeptInBucket
from hf_relabel.hub_tools.jobs.judge_server import JUDGED_VARIABLE, PREFIX_VARIABLE, WATCHED_PORT
from hf_relabel.hub_tools.jobs.keeping import Kept
from hf_relabel.hub_tools.jobs.service import OVER, JobSpec, inspect, job_errors, stage_of
from hf_relabel.hub_tools.jobs.submission import KeepBy
from hf_relabel.hub_tools.jobs.watched_port import watched_port

if TYPE_CHECKING:
    from huggingface_hub import HfApi

JOB_NAME, SETTINGS_NAME = "job.yaml", "settings.json"
JUDGE_SECRET = "RELABEL_JUDGE_"  # noqa: S105 - not one, but how their names begin
"""Put before the names of the judge server's secrets, which the main Job hands on."""
JUDGE_FAILED = 3
"""Exit code where the judge server never came up, as for any judge server that fails."""
LOOK_EVERY = 5.0
"""Seconds between two looks at the judge server's Job while waiting for it."""
GRACE = 20.0
"""Seconds the run has to stop after it was told to."""
SAVING_SECONDS, SAVING_SHARE = 300.0, 0.1
"""What is kept of the Job's time for stopping and saving: so many seconds, at most so much of it."""


@dataclass(frozen=True)
class JudgeAddress:
    """Where the judge server will be.

    Attributes:
        parameter: of the job file, which gets its URL.
        job: what starts it, see `JobSpec.from_dict`.
        watched: port of the main Job that the server watches.
        wait: seconds it may take until the model is loaded.
    """

    parameter: str
    alias: str
    port: int
    health: str
    job: Mapping[str, Any]
    watched: int = WATCHED_PORT
    wait: float = 3600.0


@dataclass(frozen=True)
class RunSettings:
    """How to run one submitted job; `settings.json`.

    Attributes:
        repo_id: the private data set that the job was submitted with, and the bucket that keeps journal and outputs.
        namespace: of the Jobs.
        save_every: seconds between two savings of the journal.
        keep_by: `bucket`, or `commits` of the data set, as settings of before that do not say it mean.
        carried: paths of what was carried along.
        timeout: seconds after its start at which the service kills the Job; None where it does not.
    """

    repo_id: str
    namespace: str
    journal: str
    outputs: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    retry_failed: bool = False
    save_every: float = 600.0
    timeout: float | None = None
    judge: JudgeAddress | None = None
    keep_by: KeepBy = "commits"
    carried: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunSettings:
        values = json.loads(text)
        judge = values.pop("judge")
        values |= {name: tuple(values.get(name, ())) for name in ("outputs", "carried")}
        return cls(**values, judge=JudgeAddress(**judge) if judge else None)


def main(folder: Path) -> int:
    """Run the submitted job in `folder`; the exit code is that of `hf relabel run`."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from hf_relabel.hub_tools.hub.api import HubApi

    disable_progress_bars()
    run = _Run(HubApi(), RunSettings.from_json((folder / SETTINGS_NAME).read_text(encoding="utf-8")), folder)
    try:
        return run.run()
    except RelabelError as error:
        _say(f"Error: {error}")
        return error.exit_code


def _kept(api: HfApi, settings: RunSettings, work: Path) -> Kept | KeptInBucket:
    if settings.keep_by == "commits":
        return Kept(api, settings.repo_id, work, settings.journal, settings.outputs)
    return KeptInBucket(api, settings.repo_id, work, settings.journal, settings.outputs, settings.carried)


class _Run:
    def __init__(self, api: HfApi, settings: RunSettings, folder: Path) -> None:
        self.api, self.settings, self.job_file = api, settings, folder / JOB_NAME
        self.work = Path(tempfile.mkdtemp(prefix="relabel-work-"))
        self.kept = _kept(api, settings, self.work)
        self.child: subprocess.Popen[bytes] | None = None
        self.judge_id: str | None = None
        self.stopping = False  # not an event, which a handler of signals may not set while it is waited for

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._within_its_time())
            parameters = dict(self.settings.parameters)
            judge = self.settings.judge
            if judge is not None:
                stack.enter_context(watched_port(judge.watched))
                stack.callback(self._stop_judge)
                self._start_judge(judge)
            self._restore()
            if judge is not None:
                url = self._judge_url(judge)
                parameters[judge.parameter] = url
                if not self._wait_for_judge(f"{url}{judge.health}", judge.wait):
                    return 130 if self.stopping else JUDGE_FAILED
            code = self._run_job(parameters)
            saved = self._save_all()
            return code or saved

    def _restore(self) -> None:
        files, kept = self.kept.restore(), self.kept
        _say(f"{files} kept files were fetched from {kept.place}." if files else "Nothing is kept yet.")
        if isinstance(kept, KeptInBucket) and kept.from_history:
            _say(f"The journal is that of the commits of {kept.repo_id}, and is kept in {kept.place} from now on.")

    @contextlib.contextmanager
    def _within_its_time(self) -> Iterator[None]:
        """Stop the run early enough to save what it has before the service kills the Job."""
        if self.settings.timeout is None:
            yield
            return
        left = self.settings.timeout - min(SAVING_SECONDS, self.settings.timeout * SAVING_SHARE) - self._age()
        timer = threading.Timer(max(0.0, left), self._time_is_over)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _age(self) -> float:
        """Seconds since the Job was started; 0 where that cannot be told."""
        job_id = os.environ.get("JOB_ID")
        if not job_id:
            return 0.0
        try:
            started = inspect(self.api, job_id, self.settings.namespace).started_at
        except JobError:
            return 0.0
        return max(0.0, time.time() - started.timestamp()) if started else 0.0

    def _time_is_over(self) -> None:
        _say(
            f"The Job's time ({self.settings.timeout:.0f} s) is nearly over: the run is stopped, and what it has is"
            " saved. Submit the job again to go on from there, with more --timeout if it took too long."
        )
        self._stop(signal.SIGTERM, None)

    def _run_job(self, parameters: Mapping[str, str]) -> int:
        """Run the job file, saving the journal now and then."""
        judged = Path(tempfile.mkdtemp(prefix="relabel-judged-"), "judged")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", JUDGED_VARIABLE: str(judged)}
        if self.stopping:
            return 130
        self.child = subprocess.Popen(self._command(parameters), cwd=self.work, env=environment)
        if self.stopping:  # told while it was being started
            self._stop(signal.SIGTERM, None)
        saved = time.monotonic()
        while True:
            try:
                code = self.child.wait(timeout=0.5)
                return code if code >= 0 else 128 - code
            except subprocess.TimeoutExpired:
                pass
            if self.judge_id is not None and judged.exists():
                self._stop_judge()
            if time.monotonic() - saved >= self.settings.save_every and not self.stopping:
                self._save_journal()
                saved = time.monotonic()

    def _command(self, parameters: Mapping[str, str]) -> list[str]:
        command = [sys.executable, "-m", "hf_relabel.hub_tools.commands", "run", str(self.job_file)]
        for name, value in sorted(parameters.items()):
            command += ["--set", f"{name}={value}"]
        return [*command, "--retry-failed"] if self.settings.retry_failed else command

    def _save_journal(self) -> None:
        """Between times a save that fails is no reason to stop: the next one has all of it."""
        try:
            judgements = self.kept.save_journal()
        except Exception as error:
            _say(f"Warning: not saved this time. {_told(error)}")
            return
        if judgements is not None:
            _say(f"Saved the journal: {counted(judgements, 'judgement')}.")

    def _save_all(self) -> int:
        """Save the journal, which cost most, then the rest, for which no judge is paid. The exit code says if it is
        lost."""
        code = 0
        for name, save in (("journal", self.kept.save_journal), ("outputs", self.kept.save_outputs)):
            try:
                save()
                self._stop_judge()
            except Exception as error:
                _say(f"Error: the {name} could not be saved. {_told(error)}")
                code = error.exit_code if isinstance(error, RelabelError) else JobError.exit_code
        if not code:
            _say(f"Journal and outputs are kept in {self.kept.place}.")
        return code

    def _judge_url(self, judge: JudgeAddress) -> str:
        prefix = os.environ.get(PREFIX_VARIABLE)
        if prefix is None:
            raise JobError(f"{PREFIX_VARIABLE} is not set: this is not a Job of a network group.")
        return f"http://{prefix}{judge.alias}:{judge.port}"

    def _wait_for_judge(self, health: str, wait: float) -> bool:
        """Wait until the judge server's model is loaded; False where that will not be."""
        _say("Waiting for the judge server.")
        give_up = time.monotonic() + wait
        looked = 0.0
        while time.monotonic() < give_up and not self.stopping:
            if _answers(health):
                _say("The judge server is ready.")
                return True
            if time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                stage = self._judge_stage()
                if stage is not None:
                    _say(f"Error: the judge server's Job is over ({stage}). See its logs: {self._judge_logs()}.")
                    return False
            time.sleep(1.0)
        if not self.stopping:
            _say(f"Error: the judge server was not ready after {wait:.0f} s. See its logs: {self._judge_logs()}.")
        return False

    def _start_judge(self, judge: JudgeAddress) -> None:
        """Start the judge server's Job, with its own secrets, which are never this Job's."""
        handed_on = {
            name.removeprefix(JUDGE_SECRET): value
            for name, value in os.environ.items()
            if name.startswith(JUDGE_SECRET)
        }
        self.judge_id = str(JobSpec.from_dict(judge.job, handed_on).start(self.api, self.settings.namespace).id)
        _say(f"The judge server is Job {self.judge_id}.")

    def _judge_stage(self) -> str | None:
        """The final stage of the judge server's Job; None while it goes on, or where that cannot be told now."""
        if self.judge_id is None:
            return None
        try:
            stage = stage_of(inspect(self.api, self.judge_id, self.settings.namespace))
        except JobError:
            return None
        return stage if stage in OVER else None

    def _judge_logs(self) -> str:
        return f"{program()} jobs logs {self.judge_id or 'ID'}"

    def _stop_judge(self) -> None:
        """Cancel the judge server's Job, unless that is done."""
        job_id, self.judge_id = self.judge_id, None
        if job_id is None:
            return
        try:
            with job_errors(job_id):
                self.api.cancel_job(job_id=job_id, namespace=self.settings.namespace)
            _say("The judge server was cancelled.")
        except JobError as error:
            _say(f"Warning: the judge server could not be cancelled, it stops by itself. {error}")

    def _stop(self, _number: int, _frame: Any) -> None:
        """Tell the run to stop as Ctrl-C does, which keeps what is done; kill it if it does not."""
        self.stopping = True
        child = self.child
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGINT)
            timer = threading.Timer(GRACE, _kill, (child,))
            timer.daemon = True
            timer.start()


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.kill()


def _told(error: Exception) -> str:
    """What is said of a save that failed: by the Hub, or by this machine, such as a full disk."""
    return str(error) if isinstance(error, RelabelError) else f"{type(error).__name__}: {short(str(error))}"


def _answers(url: str) -> bool:
    # Direct: a proxy of the environment does not know the group's names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _say(line: str) -> None:
    print(redact(f"[hf-relabel] {line}", os.environ.get("HF_TOKEN")), flush=True)  # noqa: T201 - the Job's log

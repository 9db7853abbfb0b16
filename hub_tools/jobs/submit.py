"""A job file made ready to run as a Job on the Hub.

What the Job needs is put into a private data set of the user in one commit: the job file, its settings, this package
with a uv script that names everything else by version, and files to carry along. The Job mounts that commit and runs
the script. Tokens go as secrets of the Job, and nowhere else.

    submission = prepare(api, "job.yaml", SubmitOptions(flavor="cpu-upgrade"))
    submission.to_dict()                  # what would be sent, without secrets
    job = submit(api, submission)
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError, JobError, SourceError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.reading import find_job_file, parse_job
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.redaction import redact
from hf_relabel.hub_tools.jobs import portable
from hf_relabel.hub_tools.jobs.in_job import (
    JOB_NAME,
    JUDGE_JOB_VARIABLE,
    SETTINGS_NAME,
    JudgeAddress,
    RunSettings,
)
from hf_relabel.hub_tools.jobs.judge_server import JUDGE, MAIN, WATCHED_PORT, JudgeServer
from hf_relabel.hub_tools.jobs.keeping import WORK
from hf_relabel.hub_tools.jobs.script import PACKAGE_NAME, SCRIPT_NAME, script_text
from hf_relabel.hub_tools.jobs.service import (
    GROUP_LABEL,
    KEPT_LABEL,
    MADE_BY,
    JobSpec,
    job_errors,
    ours,
)
from hf_relabel.hub_tools.package_files import package_files, python_version, requirements

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobInfo

SUBMITTED = "job"
"""Folder of the repository that holds what the Job starts from."""
MOUNTED = "/relabel"
"""Where the Job finds it."""
IMAGE = "ghcr.io/astral-sh/uv:python{python}-bookworm"
DEFAULT_PARAMETER = "judge_url"

_TIMEOUT = re.compile(r"\d+(\.\d+)?[smhd]?")
_PLACEHOLDER = "http://judge-server.invalid"
"""Stands for the judge server's URL until the Job knows it."""


@dataclass(frozen=True)
class SubmitOptions:
    """How to run a job file on the Hub.

    Attributes:
        parameters: of the job file.
        flavor: the machine, as `hf jobs hardware` lists them.
        timeout: `90m`, `6h`, `1d`, or seconds; the service stops the Job after it.
        namespace: the user or organization that the Job belongs to; None for the user of the token.
        keep_in: data set that keeps journal and outputs; None for `NAMESPACE/relabel-job-NAME` after the job file.
        carry: files and folders below the current folder that the job file names.
        judge: a judge server to start along with the Job.
        save_every: seconds between two savings of the journal.
    """

    parameters: Mapping[str, str] = field(default_factory=dict)
    flavor: str = "cpu-basic"
    timeout: str = "6h"
    namespace: str | None = None
    keep_in: str | None = None
    carry: tuple[str, ...] = ()
    judge: JudgeServer | None = None
    retry_failed: bool = False
    save_every: float = 600.0


@dataclass(frozen=True)
class Submission:
    """Everything that is sent, ready.

    Attributes:
        repo_id: the private data set that is filled.
        files: contents by path in it.
        main, judge: the Jobs. The commit that `main` mounts is filled in when it is there.
        price: of a minute of the main Job and of the judge server's, in US dollars; None where it is not known.
    """

    namespace: str
    repo_id: str
    files: Mapping[str, bytes | Path]
    requirements: tuple[str, ...]
    main: JobSpec
    judge: JobSpec | None
    price: float | None = None

    @property
    def most_cost(self) -> float | None:
        """US dollars if every Job runs until its timeout."""
        return None if self.price is None else round(self.price * _seconds(self.main.timeout) / 60, 2)

    def to_dict(self) -> dict[str, Any]:
        """What is sent, without secrets."""
        return {
            "namespace": self.namespace,
            "kept_in": self.repo_id,
            "files": {path: _size(content) for path, content in sorted(self.files.items())},
            "requirements": list(self.requirements),
            "job": self.main.to_dict(),
            "judge_server": self.judge.to_dict() if self.judge else None,
            "most_cost": self.most_cost,
        }


def prepare(api: HfApi, job_file: str | Path, options: SubmitOptions) -> Submission:
    """Check a job file for running elsewhere and make everything ready. Sends nothing; asks the Hub who the user is,
    whether the source is there, and what machines cost.

    Raises:
        ConfigError: the job file or an option is wrong, or names what will not be there.
        SourceError: the source is not on the Hub.
        JobError: the Hub cannot be asked, nobody is logged in, or the same job is running.
    """
    token = _token(api)
    text = find_job_file(job_file).read_text(encoding="utf-8")
    if redact(text) != text or any(redact(value) != value for value in options.parameters.values()):
        raise ConfigError(
            f"{job_file}: a token stands in the job file or in --set. Put it into an environment variable and name "
            "that with `token_env`: it is then sent as a secret."
        )
    if not _TIMEOUT.fullmatch(options.timeout) or not _seconds(options.timeout):
        raise ConfigError(f"--timeout: {options.timeout!r} is no time. Give 90m, 6h, 1d, or seconds.")
    parameter = _judge_parameter(text, options) if options.judge else None
    filled = {**options.parameters, **({parameter: _PLACEHOLDER} if parameter else {})}
    job = parse_job(text, filled, name=str(job_file))
    carried = _carried(options.carry)
    found = portable.problems(job, options.carry)
    if found:
        raise ConfigError(f"{job_file} cannot run elsewhere. " + " ".join(found))
    with job_errors("whoami"):
        namespace = options.namespace or str(api.whoami()["name"])
    _check_source(api, job, carried)
    name = _slug(Path(job_file).stem)
    repo_id = options.keep_in or f"{namespace}/relabel-job-{name}"
    lines = tuple(sorted({*requirements(portable.extras(job)), *portable.model_packages(job)}))
    journal, outputs = portable.written(job)
    address = None
    if options.judge is not None and parameter is not None:
        kind = options.judge.kind
        address = JudgeAddress(parameter, JUDGE, kind.port, kind.health, WATCHED_PORT)
    settings = RunSettings(
        repo_id, namespace, journal, tuple(outputs), dict(options.parameters), options.retry_failed, options.save_every,
        address,
    )  # fmt: skip
    files: dict[str, bytes | Path] = {
        f"{SUBMITTED}/{JOB_NAME}": text.encode(),
        f"{SUBMITTED}/{SETTINGS_NAME}": settings.to_json().encode(),
        f"{SUBMITTED}/{SCRIPT_NAME}": script_text(lines, python_version()).encode(),
        f"{SUBMITTED}/{PACKAGE_NAME}": package_files().as_zip(),
        **{f"{WORK}/{path}": source for path, source in carried.items()},
    }
    main, judge = _specs(name, repo_id, options, _secrets(job, token), token)
    prices = _prices(api, [main.flavor, *([judge.flavor] if judge else [])])
    submission = Submission(namespace, repo_id, files, lines, main, judge, prices)
    _refuse_second(api, submission)
    return submission


def submit(api: HfApi, submission: Submission) -> JobInfo:
    """Send the files, then start the judge server, if there is one, and the Job.

    Raises:
        JobError: the Hub would not take something, or the data set is public. What was started is cancelled.
    """
    commit = _send_files(api, submission)
    main = replace(submission.main, volumes=(_volume(submission.repo_id, commit),))
    if submission.judge is None:
        return main.start(api, submission.namespace)
    server = submission.judge.start(api, submission.namespace)
    try:
        environment = {**main.environment, JUDGE_JOB_VARIABLE: server.id}
        return replace(main, environment=environment).start(api, submission.namespace)
    except BaseException:
        with job_errors(server.id):
            api.cancel_job(job_id=server.id, namespace=submission.namespace)
        raise


def _token(api: HfApi) -> str:
    from huggingface_hub import get_token

    token = api.token if isinstance(api.token, str) else get_token()
    if not token:
        raise JobError("Nobody is logged in. Log in with `hf auth login`, or set HF_TOKEN.")
    return token


def _judge_parameter(text: str, options: SubmitOptions) -> str:
    """The parameter of the job file that is the URL of a judge server."""
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        data = None
    parameters = data.get("parameters") if isinstance(data, dict) else None
    names = {str(name) for name in parameters} if isinstance(parameters, dict) else set()
    found: list[str] = re.findall(r"url['\"]?:\s*['\"]?\$\{([A-Za-z_]\w*)\}", text)
    wanted = sorted(names & set(found))
    free = [name for name in wanted if name not in options.parameters]
    if len(free) == 1:
        return free[0]
    if DEFAULT_PARAMETER in free:
        return DEFAULT_PARAMETER
    what = f"leaves {', '.join(free)} open: give all but one with --set" if free else "has none left"
    raise ConfigError(
        "--judge-server: the job file needs one parameter for its URL, as in "
        f"`parameters: {{{DEFAULT_PARAMETER}: null}}` and `url: ${{{DEFAULT_PARAMETER}}}`. It {what}."
    )


def _carried(paths: tuple[str, ...]) -> dict[str, Path]:
    """The files to carry along, by their path below the current folder.

    Raises:
        ConfigError: a path is missing, leads out of the folder, or holds a link that does.
    """
    here = Path.cwd().resolve()
    found: dict[str, Path] = {}
    for text in paths:
        path = Path(text)
        if not path.exists():
            raise ConfigError(f"--carry: there is no {text!r}.")
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            relative = posixpath.normpath(file.as_posix())
            if file.is_absolute() or relative.startswith("..") or not file.resolve().is_relative_to(here):
                raise ConfigError(f"--carry: {str(file)!r} is not below the current folder. Copy it there.")
            if file.is_file() and not any(
                part.startswith(".") or part == "__pycache__" for part in Path(relative).parts
            ):
                found[relative] = file
    return found


def _check_source(api: HfApi, job: Job, carried: Mapping[str, Path]) -> None:
    from hf_relabel.hub_tools.hub.source import HubLocation

    location = job.source.location
    path = posixpath.normpath(location)
    if any(name == path or name.startswith(f"{path}/") for name in carried):
        return
    hub = HubLocation.parse(location)
    if hub is None:
        raise ConfigError(
            f"source.location: {location!r} names no data set on the Hub (user/repo, user/repo@revision)."
        )
    revision = job.source.revision or hub.revision
    with hub_errors(hub.repo_id, revision, api.token, SourceError):
        api.dataset_info(hub.repo_id, revision=revision)


def _secrets(job: Job, token: str) -> dict[str, str]:
    secrets = {"HF_TOKEN": token}
    for name in portable.token_names(job):
        value = os.environ.get(name)
        if not value:
            raise ConfigError(f"The job file takes a token from {name}, which is not set here.")
        secrets[name] = value
    return secrets


def _specs(
    name: str, repo_id: str, options: SubmitOptions, secrets: Mapping[str, str], token: str
) -> tuple[JobSpec, JobSpec | None]:
    labels = {**MADE_BY, KEPT_LABEL: _label(repo_id)}
    main = JobSpec(
        name=f"relabel-{name}",
        image=IMAGE.format(python=python_version()),
        command=("uv", "run", f"{MOUNTED}/{SCRIPT_NAME}"),
        flavor=options.flavor,
        timeout=options.timeout,
        secrets=secrets,
        labels=labels,
        volumes=(_volume(repo_id, None),),
    )
    if options.judge is None:
        return main, None
    # Another one each time, so that a server of an earlier submission is never taken for this one's.
    group = f"relabel-{name[:24].strip('-')}-{os.urandom(4).hex()}"
    labels = {**labels, GROUP_LABEL: group}
    judge = JobSpec(
        name=f"relabel-{name}-judge",
        image=options.judge.full_image,
        command=tuple(options.judge.command()),
        flavor=options.judge.flavor,
        timeout=options.timeout,
        environment=options.judge.environment(),
        secrets={"HF_TOKEN": token},
        labels={**MADE_BY, GROUP_LABEL: group},
        network_group=group,
        network_aliases=(JUDGE,),
    )
    return replace(main, labels=labels, network_group=group, network_aliases=(MAIN,)), judge


def _volume(repo_id: str, commit: str | None) -> Any:
    from huggingface_hub import Volume

    return Volume(type="dataset", source=repo_id, mount_path=MOUNTED, revision=commit, read_only=True, path=SUBMITTED)


def _prices(api: HfApi, flavors: list[str]) -> float | None:
    """US dollars a minute of all of them; None where the service does not tell.

    Raises:
        ConfigError: the service has no such machine.
    """
    try:
        with job_errors("hardware"):
            offered = {machine.name: machine for machine in api.list_jobs_hardware()}
    except JobError:
        return None
    for flavor in flavors:
        if flavor not in offered:
            raise ConfigError(f"There is no machine {flavor!r}. There are: {', '.join(offered)}.")
    machines = [offered[flavor] for flavor in flavors]
    if any(machine.unit_label != "minute" for machine in machines):
        return None
    return sum(machine.unit_cost_usd for machine in machines)


def _refuse_second(api: HfApi, submission: Submission) -> None:
    """Two runs over one repository would overwrite each other's journal."""
    active = ours(api, submission.namespace, active=True, **{KEPT_LABEL: _label(submission.repo_id)})
    if active:
        raise JobError(
            f"This job is running already: {active[0].id}. Follow it with `{program()} jobs logs {active[0].id} "
            "--follow`, cancel it, or keep this one elsewhere with --keep-in."
        )


def _send_files(api: HfApi, submission: Submission) -> str:
    """Put the files into the private data set, and give the commit."""
    from huggingface_hub import CommitOperationAdd

    repo_id = submission.repo_id
    with hub_errors(repo_id, None, api.token, JobError):
        api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
        if not api.dataset_info(repo_id).private:
            raise JobError(f"{repo_id} is public, and the journal holds your texts. Make it private, or use --keep-in.")
        operations = [
            CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in sorted(submission.files.items())
        ]
        done: Any = api.create_commit(repo_id, operations, repo_type="dataset", commit_message="Submit a job")
    return str(done.oid)


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _seconds(timeout: str) -> float:
    factors = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return float(timeout[:-1]) * factors[timeout[-1]] if timeout[-1] in factors else float(timeout)


def _slug(text: str) -> str:
    """A text as the name of a repository or a Job may be."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug[:48].strip("-") or "job"


def _label(repo_id: str) -> str:
    """A repository as a label may be: without a slash, and unlike that of any other."""
    digest = hashlib.sha256(repo_id.encode()).hexdigest()[:8]
    return f"{_slug(repo_id.partition('/')[2])}-{digest}"

"""A job file made ready to run as a Job on the Hub.

What the Job needs is put into a private data set of the user in one commit: the job file, its settings, this package
with a uv script that names everything else by version, and files to carry along. The Job mounts that commit and runs
the script. Tokens go as secrets of the Job, and nowhere else.

    submission = prepare(api, "job.yaml", SubmitOptions(flavor="cpu-upgrade"))
    submission.to_dict()                  # what would be sent, without secrets
    job = submit(api, submission)
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.errors import ConfigError, JobError, SourceError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.reading import find_job_file, parse_job
from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.redaction import redact
from hf_relabel.hub_tools.jobs import portable
from hf_relabel.hub_tools.jobs.in_job import JOB_NAME, JUDGE_SECRET, SETTINGS_NAME, JudgeAddress, RunSettings
from hf_relabel.hub_tools.jobs.judge_server import JUDGE, WATCHED_PORT
from hf_relabel.hub_tools.jobs.judge_token import judge_secrets
from hf_relabel.hub_tools.jobs.keeping import WORK
from hf_relabel.hub_tools.jobs.kept_place import ready_to_keep
from hf_relabel.hub_tools.jobs.script import PACKAGE_NAME, SCRIPT_NAME, script_text
from hf_relabel.hub_tools.jobs.service import KEPT_LABEL, job_errors, ours
from hf_relabel.hub_tools.jobs.specs import SUBMITTED, judge_spec, label, main_spec, new_group, slug, volume
from hf_relabel.hub_tools.jobs.submission import Submission, SubmitOptions, seconds_of
from hf_relabel.hub_tools.package_files import package_files, python_version, requirements

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobHardwareInfo, JobInfo

DEFAULT_PARAMETER = "judge_url"

_TIMEOUT = re.compile(r"\d+(\.\d+)?[smhd]?")
_PLACEHOLDER = "http://judge-server.invalid"
"""Stands for the judge server's URL until the Job knows it."""


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
    if not _TIMEOUT.fullmatch(options.timeout) or not seconds_of(options.timeout):
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
    name = slug(Path(job_file).stem)
    repo_id = options.keep_in or f"{namespace}/relabel-job-{name}"
    lines = tuple(sorted({*requirements(portable.extras(job)), *portable.model_packages(job)}))
    journal, outputs = portable.written(job)
    secrets = _secrets(job, token)
    machines = _machines(api, [options.flavor, *([options.judge.flavor] if options.judge else [])])
    judge = address = group = None
    if options.judge is not None and parameter is not None:
        group, kind = new_group(name), options.judge.kind
        judge = judge_spec(name, options, judge_secrets(api, options.judge), group, _gpus(machines))
        address = JudgeAddress(parameter, JUDGE, kind.port, kind.health, judge.to_dict(), WATCHED_PORT)
        # As secrets of the main Job too, which starts the server with them.
        secrets |= {f"{JUDGE_SECRET}{key}": value for key, value in judge.secrets.items()}
    settings = RunSettings(
        repo_id, namespace, journal, tuple(outputs), dict(options.parameters), options.retry_failed, options.save_every,
        seconds_of(options.timeout), address, options.keep_by, tuple(carried),
    )  # fmt: skip
    files: dict[str, bytes | Path] = {
        f"{SUBMITTED}/{JOB_NAME}": text.encode(),
        f"{SUBMITTED}/{SETTINGS_NAME}": settings.to_json().encode(),
        f"{SUBMITTED}/{SCRIPT_NAME}": script_text(lines, python_version()).encode(),
        f"{SUBMITTED}/{PACKAGE_NAME}": package_files().as_zip(),
        **{f"{WORK}/{path}": source for path, source in carried.items()},
    }
    main = main_spec(name, repo_id, options, secrets, group)
    submission = Submission(
        namespace, repo_id, files, lines, main, judge, options.keep_by, journal, _price(machines)
    )  # fmt: skip
    _refuse_second(api, submission)
    return submission


def submit(api: HfApi, submission: Submission) -> JobInfo:
    """Send the files, then start the Job, which starts its judge server, if there is one, itself: so none is paid for
    while the Job waits for its machine, nor after one that never ran.

    Raises:
        JobError: the Hub would not take something, has no buckets, or the data set or the bucket is public.
    """
    ready_to_keep(api, submission)
    commit = _send_files(api, submission)
    main = replace(submission.main, volumes=(volume(submission.repo_id, commit),))
    return main.start(api, submission.namespace)


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
            raise ConfigError(f"A server of the job file takes its token from {name}, which is not set here.")
        secrets[name] = value
    return secrets


def _machines(api: HfApi, flavors: list[str]) -> list[JobHardwareInfo] | None:
    """What the service says of these machines; None where it does not tell.

    Raises:
        ConfigError: it has no such machine.
    """
    try:
        with job_errors("hardware"):
            offered = {machine.name: machine for machine in api.list_jobs_hardware()}
    except JobError:
        return None
    for flavor in flavors:
        if flavor not in offered:
            raise ConfigError(f"There is no machine {flavor!r}. There are: {', '.join(offered)}.")
    return [offered[flavor] for flavor in flavors]


def _price(machines: list[JobHardwareInfo] | None) -> float | None:
    """US dollars a minute of all of them; None where the service does not tell."""
    if machines is None or any(machine.unit_label != "minute" for machine in machines):
        return None
    return sum(machine.unit_cost_usd for machine in machines)


def _gpus(machines: list[JobHardwareInfo] | None) -> int:
    """Of the judge server's machine, which is the last; 1 where the service does not tell."""
    accelerator = machines[-1].accelerator if machines else None
    return int(accelerator.quantity) if accelerator and str(accelerator.quantity).isdigit() else 1


def _refuse_second(api: HfApi, submission: Submission) -> None:
    """Two runs over one repository would overwrite each other's journal."""
    active = ours(api, submission.namespace, active=True, **{KEPT_LABEL: label(submission.repo_id)})
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

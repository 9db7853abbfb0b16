"""A job file that judges as a plan has it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from hf_relabel.builders.disk.atomic_file import write_whole
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.job.job_file import Job
from hf_relabel.builders.job.stages import StageSettings
from hf_relabel.builders.planning.policy import PilotStage, Policy, Step


def planned_stages(
    stages: Sequence[StageSettings],
    known: Sequence[PilotStage],
    policy: Policy,
    *,
    worse: Sequence[float | None],
    budget: float | None = None,
) -> list[StageSettings]:
    """The stages that a policy takes, with its thresholds.

    Args:
        stages, known: all stages of the pilot, as a job has them and as it knows them.
        worse: of each its judge's own threshold, below which the last stage calls a candidate irrelevant.
        budget: US dollars, of the whole run.
    """
    last = policy.steps[-1]
    found = []
    for step in policy.steps:
        given, stage = stages[step.stage], known[step.stage]
        rule = {"escalate": "candidate", "passes": ("better", "worse"), "accepts": ()} | (
            _handing_on(step, stage) if step is not last else {}
        )
        judge = given.judge | (_thresholds(step, worse[step.stage], step is last) if stage.scored else {})
        priced = given.limits.price_prompt or given.limits.price_completion
        cap = {"max_cost": budget} if budget is not None and priced else {}
        limits = given.limits.model_copy(update=cap)
        values = {"name": stage.name, "judge": judge, "limits": limits, **rule}
        found.append(StageSettings.model_validate({**_given(given), **values}))
    return found


def _given(stage: StageSettings) -> dict[str, Any]:
    return {name: getattr(stage, name) for name in stage.model_fields_set}


def _handing_on(step: Step, stage: PilotStage) -> dict[str, tuple[str, ...]]:
    accepts = ("better",) if step.accepts < inf else ()
    if stage.scored:
        return {"accepts": accepts}
    worse = ("worse",) if step.passes < 1 else ()
    return {"passes": worse if accepts else ("better", *worse), "accepts": accepts}


def _thresholds(step: Step, own: float | None, last: bool) -> dict[str, float]:
    if last:
        return {"better": step.accepts, "worse": step.accepts if own is None else min(own, step.accepts)}
    return {"better": min(step.accepts, 1.0), "worse": step.passes}


def write_planned_job(path: Path, job: Job, about: Sequence[str]) -> None:
    """Write a job file, with a comment above it.

    Raises:
        ConfigError: the file is there already, or cannot be written.
    """
    import yaml

    values = job.model_dump(mode="json", exclude_defaults=True)
    comment = "".join(f"# {line}\n" for line in about)
    text = comment + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
    try:
        write_whole(path, text.encode(), replaces=False)
    except FileExistsError:
        raise ConfigError(f"{path} is there already and stays as it is. Give another name, or remove it.") from None
    except BuildError as error:
        raise ConfigError(str(error)) from None

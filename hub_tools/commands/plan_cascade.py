"""The part of `hf relabel plan` that chooses a cascade from a pilot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.dollars import dollars
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.messages.text_table import fitted, text_table
from hf_relabel.hub_tools.commands.common import NumberIn, print_json
from hf_relabel.hub_tools.commands.interrupting import goes_on, kept_in

if TYPE_CHECKING:
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.builders.planning.choosing import Option
    from hf_relabel.hub_tools.judging.pilot import CascadePlan

RLHN_EACH = 0.0093
"""US dollars for each row with a false negative that RLHN's two stages found: 3,300 for 356,017 (arXiv 2505.16967)."""
_MOST_OTHERS = 6

_OPTIONS = [
    click.option(
        "--every-stage",
        is_flag=True,
        help="Let every stage judge all candidates of the --probe rows: a pilot, to choose a cascade from.",
    ),
    click.option(
        "--precision",
        type=NumberIn(0, 1, min_open=True, max_open=True),
        help="Choose stages and thresholds from a pilot, so that what is relabelled is so precise (95 % confidence).",
    ),
    click.option(
        "--budget", type=NumberIn(min=0, min_open=True), help="With --precision: US dollars for the whole set, at most."
    ),
    click.option("--pilot", metavar="JOURNAL", help="With --precision: where the pilot is; --journal when not given."),
    click.option("--audit", metavar="FOLDER", help="With --precision: the audit that people answered for the pilot."),
    click.option("--answers", multiple=True, metavar="FILE", help="Their answers to it. May be repeated."),
    click.option(
        "--row-limit",
        default=7,
        show_default=True,
        type=click.IntRange(min=1),
        help="With --precision: rows of which more is found are left out, as by `build --limit`.",
    ),
    click.option("--write", metavar="FILE", help="With --precision: write a job file that judges by the plan."),
]


def cascade_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Asked:
    """What the options ask for."""

    every_stage: bool
    precision: float | None
    budget: float | None
    pilot: str | None
    audit: str | None
    answers: tuple[str, ...]
    row_limit: int
    write: str | None
    truth: str | None

    @classmethod
    def taken(cls, options: dict[str, Any]) -> Asked:
        """Take the options out of `options`; `--truth` stays there too, for the judge of that name.

        Raises:
            ConfigError: some of them do not go together.
        """
        names = ("every_stage", "precision", "budget", "pilot", "audit", "answers", "row_limit", "write")
        asked = cls(**{name: options.pop(name) for name in names}, truth=options["truth"])
        if asked.precision is None:
            for name in ("budget", "pilot", "audit", "answers", "write"):
                if getattr(asked, name):
                    raise ConfigError(f"--{name} is for --precision: give that too.")
        return asked

    def check_alone(self, **others: Any) -> None:
        """Raises: ConfigError, where an option of the other plans is given."""
        for name, value in others.items():
            if value not in (None, ()):
                mine = "--every-stage" if self.precision is None else "--precision"
                raise ConfigError(f"--{name.replace('_', '-')} has no part in a plan with {mine}: leave one out.")

    @property
    def anything(self) -> bool:
        return self.every_stage or self.precision is not None


def show_cascade(job: Job, asked: Asked, as_json: bool, *, probe: int, rows: int | None) -> None:
    """Make the pilot, choose a cascade from it, or both."""
    if asked.every_stage:
        if not probe:
            raise ConfigError("--every-stage makes a pilot of the rows of --probe: give their number.")
        _make_pilot(job, probe, tell=asked.precision is None and not as_json)
    if asked.precision is None:
        if as_json:
            print_json({"pilot": job.journal, "rows": probe})
        return
    _choose(job, asked, as_json, rows)


def _make_pilot(job: Job, probe: int, *, tell: bool) -> None:
    from hf_relabel.builders.journal.store import journal_for_judging
    from hf_relabel.hub_tools.commands.live import judging_progress
    from hf_relabel.hub_tools.judging.assemble import source_of, stages_of
    from hf_relabel.hub_tools.judging.pilot import judge_pilot

    with (
        goes_on(partial(kept_in, job.journal)),
        journal_for_judging(job.journal) as journal,
        judging_progress(probe) as shown,
    ):
        seed = job.source.sample_seed
        reports = judge_pilot(source_of(job.source), stages_of(job), journal, probe, seed=seed, progress=shown)
    if tell:
        rows = max(report.rows for report in reports)
        click.echo(
            f"{counted(rows, 'row')} judged by every stage, in {job.journal}. Now label them: a truth file, or people's"
            f" answers to `{program()} audit sample {job.source.location} --journal {job.journal} --out audit`."
            f" Then: `{program()} plan … --precision 0.95 --pilot {job.journal}`."
        )


def _choose(job: Job, asked: Asked, as_json: bool, rows: int | None) -> None:
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.planning.choosing import Wanted
    from hf_relabel.hub_tools.judging.assemble import source_of, stages_of
    from hf_relabel.hub_tools.judging.pilot import plan_cascade

    stages = stages_of(job)
    wanted = Wanted(asked.precision or 0.0, budget=asked.budget, limit=asked.row_limit, seed=job.source.sample_seed)
    with Journal(asked.pilot or job.journal, write=False) as journal:
        plan = plan_cascade(
            source_of(job.source),
            stages,
            journal,
            wanted,
            truth=asked.truth,
            audit=asked.audit,
            answers=asked.answers,
            rows=rows,
        )
    written = None
    if asked.write is not None and plan.chosen.option is not None:
        own = [_own_worse(stage.judge) for stage in stages]
        written = _write(Path(asked.write), job, plan, plan.chosen.option, own)
    if as_json:
        print_json({**to_dict(plan), "written_to": written})
    else:
        click.echo(to_text(plan, [stage.judge.kind for stage in stages]))
        if written:
            click.echo(f"\nWritten to {written}: `{program()} run {written}`.")
    if asked.write is not None and written is None:
        raise ConfigError(f"{asked.write} is not written: no plan holds what was asked.")


def _own_worse(judge: Any) -> float | None:
    """The threshold of a judge below which it calls nothing worse."""
    settings: dict[str, Any] = judge.settings() if hasattr(judge, "settings") else {}
    return settings.get("worse")


def _write(path: Path, job: Job, plan: CascadePlan, option: Option, own: Sequence[float | None]) -> str:
    from hf_relabel.builders.planning.planned_job import planned_stages, write_planned_job

    budget = plan.wanted.budget
    stages = planned_stages(job.stages, plan.of.pilot.stages, option.policy, worse=own, budget=budget)
    write_planned_job(path, job.model_copy(update={"stages": tuple(stages)}), _about(plan, option))
    return str(path)


def _about(plan: CascadePlan, option: Option) -> list[str]:
    wanted = plan.wanted
    return [
        f"Made by `{program()} plan` from a pilot of {counted(plan.chosen.rows, 'row')} with"
        f" {counted(plan.chosen.labels, 'label')}.",
        f"Precision of what is relabelled: {wanted.precision:g} or more ({100 * wanted.confidence:g} % confidence),",
        f"where rows of which more than {wanted.limit} is found are left out (`build --limit {wanted.limit}`).",
        f"Expected: recall {option.recall:.2f}, {dollars(option.cost)} USD.",
    ]


def to_dict(plan: CascadePlan) -> dict[str, Any]:
    """The plan for scripts. `option` is None where nothing is backed or within the budget."""
    chosen, names = plan.chosen, [stage.name for stage in plan.of.pilot.stages]
    return {
        "precision": plan.wanted.precision,
        "confidence": plan.wanted.confidence,
        "budget": plan.wanted.budget,
        "limit": plan.wanted.limit,
        "pilot": {"rows": chosen.rows, "candidates": len(plan.of.pilot.row), "labels": chosen.labels},
        "rows": plan.of.rows,
        "candidates": plan.wanted.candidates,
        "option": None if chosen.option is None else _option_dict(chosen.option, names),
        "frontier": [_option_dict(option, names) for option in chosen.frontier],
        "rows_needed": chosen.rows_needed,
        "labels_needed": chosen.labels_needed,
        "cheapest": chosen.cheapest,
        "rlhn_cost_each": RLHN_EACH,
    }


def _option_dict(option: Option, names: Sequence[str]) -> dict[str, Any]:
    return {
        "stages": [
            {
                "name": names[step.stage],
                "passes_from": step.passes,
                "accepts_from": None if step.accepts == inf else step.accepts,
            }
            for step in option.policy.steps
        ],
        "precision": option.precision,
        "recall": option.recall,
        "recall_range": list(option.recall_range),
        "cost": option.cost,
        "cost_range": None if option.cost_range is None else list(option.cost_range),
        "found": option.found,
        "cost_each": option.cost_each,
    }


def to_text(plan: CascadePlan, kinds: Sequence[str]) -> str:
    """The plan, or in plain words why there is none."""
    chosen = plan.chosen
    head = (
        f"A pilot of {counted(chosen.rows, 'row')} with {counted(chosen.labels, 'label')}; a third of it laid"
        f" {counted(chosen.tested, 'way', 'ways')} out, the rest tested them."
    )
    if chosen.option is None:
        return "\n".join(map(fitted, [head, _why_none(plan)]))
    lines = [fitted(head), "", _steps(plan, chosen.option, kinds), "", *_figures(plan, chosen.option)]
    others = [option for option in chosen.frontier if option is not chosen.option]
    if others:
        lines += ["", "Others that are backed as well, from cheap to dear:", _others(plan, others)]
    return "\n".join(lines)


def _why_none(plan: CascadePlan) -> str:
    chosen, wanted = plan.chosen, plan.wanted
    if chosen.cheapest is not None:
        return (
            f"Nothing that is backed keeps within {dollars(wanted.budget or 0)} USD. The cheapest takes up to"
            f" {dollars(chosen.cheapest)} USD: raise --budget, or ask for a lower --precision."
        )
    why = f"Nothing is backed at a precision of {wanted.precision:g} ({100 * wanted.confidence:g} % confidence)."
    if chosen.rows_needed is None:
        return f"{why} No way through these stages looks so precise: ask for less, or add a better judge."
    return (
        f"{why} The labels are too few: about {counted(chosen.rows_needed, 'row')} in the pilot, with"
        f" {counted(chosen.labels_needed or 0, 'label')}, would probably do"
        f" ({counted(max(0, (chosen.labels_needed or 0) - chosen.labels), 'label')} more)."
    )


def _steps(plan: CascadePlan, option: Option, kinds: Sequence[str]) -> str:
    stages, last = plan.of.pilot.stages, option.policy.steps[-1]
    lines = []
    for step in option.policy.steps:
        stage = stages[step.stage]
        passes = "-" if step is last else _from(step.passes, stage.scored)
        lines.append([stage.name, kinds[step.stage], passes, _from(step.accepts, stage.scored)])
    return text_table(lines, headers=["stage", "judge", "handed on from", "false negative from"], stralign="right")


def _from(threshold: float, scored: bool) -> str:
    if threshold == inf:
        return "-"
    if scored:
        return f"{threshold:.4g}"
    return "worse" if threshold < 1 else "better"


def _figures(plan: CascadePlan, option: Option) -> list[str]:
    wanted = plan.wanted
    each = "-" if option.cost_each is None else dollars(option.cost_each)
    low, high = option.cost_range or (option.cost, option.cost)
    return [
        f"  precision      {wanted.precision:g} or more, with {100 * wanted.confidence:g} % confidence"
        f" ({option.precision:.3f} on the rows that tested it)",
        f"  recall         {option.recall:.2f} [{option.recall_range[0]:.2f} to {option.recall_range[1]:.2f}] is"
        f" relabelled; rows with more than {wanted.limit} are left out",
        f"  found          about {option.found:,.0f} of {counted(wanted.candidates or 0, 'candidate')} (estimated)",
        f"  USD            {dollars(option.cost)} [{dollars(low)} to {dollars(high)}]",
        f"  USD for each   {each} (RLHN: {RLHN_EACH:g} for each affected row, by the paper's figures)",
    ]


def _others(plan: CascadePlan, options: Sequence[Option]) -> str:
    names = [stage.name for stage in plan.of.pilot.stages]
    places = {round(place * (len(options) - 1) / (_MOST_OTHERS - 1)) for place in range(_MOST_OTHERS)}
    shown = [options[place] for place in sorted(places)]
    lines = [[" → ".join(names[step.stage] for step in option.policy.steps), *_brief(option)] for option in shown]
    return text_table(lines, headers=["stages", "recall", "precision there", "USD", "USD for each"], stralign="right")


def _brief(option: Option) -> list[str]:
    each = "-" if option.cost_each is None else dollars(option.cost_each)
    return [f"{option.recall:.2f}", f"{option.precision:.3f}", dollars(option.cost), each]

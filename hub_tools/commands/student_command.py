"""`hf relabel student`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from hf_relabel.builders.messages.program import program
from hf_relabel.hub_tools.commands.common import (
    FOLDER,
    NumberIn,
    command_needs,
    json_option,
    print_json,
    source_options,
    source_settings,
)
from hf_relabel.hub_tools.commands.progress import progress_bar, progress_lines

if TYPE_CHECKING:
    from hf_relabel.builders.sources import Source
    from hf_relabel.trainers.students.judge_student import StudentExample

EPILOG = """\b
Examples:
  hf relabel student train.jsonl --audit audit --answers anna.csv --out student
  hf relabel student train.jsonl --truth truth.jsonl --labels 2000 --out student
  hf relabel student train.jsonl --journal journal.sqlite --out student      # distilled from a judge's verdicts
  hf relabel judge other.jsonl --judge student --model student"""


@click.command("student", epilog=EPILOG)
@source_options
@click.option("--audit", metavar="FOLDER", help="Train on the answers to the sample in this folder …")
@click.option("--answers", multiple=True, metavar="FILE", help="… that are in these files.")
@click.option("--truth", metavar="FILE", help="Train on known false negatives.")
@click.option("--journal", "journal_path", metavar="FILE", help="Train on the verdicts of the last run in a journal.")
@click.option("--labels", type=click.IntRange(min=20), help="At most this many, drawn at random.")
@click.option("--head", type=click.Choice(["scores", "setfit"]), default="scores", show_default=True)
@click.option("--model", help="Encoder: a folder, a Hub id, or package:NAME; MiniLM when not given.")
@click.option(
    "--precision",
    default=0.9,
    show_default=True,
    type=NumberIn(0, 1, min_open=True, max_open=True),
    help="Wanted of what the student calls better.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", required=True, type=FOLDER, help="Folder for the student.")
@json_option
def command(
    audit: str | None,
    answers: tuple[str, ...],
    truth: str | None,
    journal_path: str | None,
    labels: int | None,
    head: Literal["scores", "setfit"],
    model: str | None,
    precision: float,
    seed: int,
    out: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a cheap judge on labels of SOURCE: people's, known ones, or those of another judge.

    It judges offline, in milliseconds a row. As the first stage of a cascade that accepts what it is sure of, it
    leaves the rest to an LLM.
    """
    command_needs("student")
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.hub_tools.judging.assemble import source_of
    from hf_relabel.trainers.students.judge_student import train_student

    if sum(bool(given) for given in (audit, truth, journal_path)) != 1:
        raise ConfigError("Say what to learn from: --audit FOLDER with --answers, --truth FILE, or --journal FILE.")
    source = source_of(source_settings(options))
    with progress_bar("reading") as bar:
        if audit:
            found = audited_examples(source, audit, answers)
        elif truth:
            found = known_examples(source, truth)
        else:
            found = judged_examples(source, str(journal_path))
        examples = drawn((bar.update() or example for example in found), labels, seed)
    settings: dict[str, Any] = {} if model is None else {"model": model}
    with progress_lines(f"training on {len(examples):,} examples", unit=""):
        report = train_student(examples, Path(out), head=head, seed=seed, precision=precision, **settings)
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.to_text())
        click.echo(f"\nJudge with it: {program()} judge SOURCE --judge student --model {out}")


def audited_examples(source: Source, audit: str, answers: Iterable[str]) -> Iterator[StudentExample]:
    """The candidates that people answered for."""
    from hf_relabel.builders.audit.report import audit_report
    from hf_relabel.builders.audit.sample import AuditSample
    from hf_relabel.hub_tools.commands.audit_step import read_all_answers
    from hf_relabel.trainers.students.judge_student import StudentExample

    sample = AuditSample.read(Path(audit))
    found = audit_report(sample, read_all_answers(sample, tuple(answers), None))
    wanted: dict[tuple[str, str], Any] = {(item.query_id, item.docid): item for item in sample.items}
    for numbered in source.rows():
        for position, passage in enumerate(numbered.row.negative_passages):
            item = wanted.get((numbered.row.query_id, passage.docid))
            if item is not None and item.id in found.truth and item.position == position:
                yield StudentExample(numbered.row, position, found.truth[item.id], found.weights[item.id])


def known_examples(source: Source, truth: str) -> Iterator[StudentExample]:
    """All candidates of the rows that the truth file has."""
    from hf_relabel.builders.cascade.rules import first_candidates
    from hf_relabel.builders.judgements import Label
    from hf_relabel.builders.judges.offline.truth import TruthJudge
    from hf_relabel.builders.sources.findings import free_findings
    from hf_relabel.trainers.students.judge_student import StudentExample

    knowing = TruthJudge(truth)
    for numbered in source.rows():
        row = numbered.row
        (said,) = knowing.judge([(row, [*first_candidates(row, free_findings(row))])])
        for position, judgement in said.items():
            if judgement.label.is_answer:
                yield StudentExample(row, position, judgement.label is Label.BETTER)


def judged_examples(source: Source, journal_path: str) -> Iterator[StudentExample]:
    """The candidates that the last run has a verdict on."""
    from hf_relabel.builders.cascade.verdicts import verdicts
    from hf_relabel.builders.cascade.zones import signal
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.judgements import Outcome
    from hf_relabel.trainers.students.judge_student import StudentExample

    with Journal(journal_path, write=False) as journal:
        for numbered, found in verdicts(source, journal):
            for verdict in found:
                if signal(verdict) is not None:
                    is_relevant = verdict.outcome is Outcome.FALSE_NEGATIVE
                    yield StudentExample(numbered.row, verdict.position, is_relevant)


def drawn(examples: Iterable[StudentExample], most: int | None, seed: int) -> list[StudentExample]:
    """At most `most` of the examples, each as likely as any other. Only those kept are held."""
    import random

    chance = random.Random(seed)  # noqa: S311  a sample, no secret
    kept: list[StudentExample] = []
    for number, example in enumerate(examples):
        if most is None or len(kept) < most:
            kept.append(example)
        elif (place := chance.randrange(number + 1)) < most:
            kept[place] = example
    return kept

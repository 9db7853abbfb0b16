"""`hf relabel report`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.commands.common import (
    journal_option,
    json_option,
    print_json,
    run_option,
    source_options,
    source_settings,
)
from hf_relabel.hub_tools.commands.progress import progress_bar

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.judged_in_run import JudgedRow

EPILOG = """\b
Examples:
  hf relabel report train.jsonl
  hf relabel report train.jsonl --journal judged.sqlite --figure pareto.png
  hf relabel report train.jsonl --examples 20
  hf relabel report train.jsonl --json"""


@click.command("report", epilog=EPILOG)
@source_options
@journal_option("Where judgements are.")
@click.option("--figure", help="Write tokens against false negatives of each escalation rule to this PNG file.")
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Of so many rows show a candidate that `relabel` makes a positive.",
)
@run_option
@json_option
def command(
    journal_path: str, figure: str | None, examples: int, run_number: int | None, as_json: bool, **options: Any
) -> None:
    """Report on the judges of the last run over SOURCE, or of another run. Asks nobody.

    Shows some of what was found, whether a judge of lists prefers some places of its prompt, how far judges agree, and
    what each escalation rule would have cost and found on the same replies.
    """
    from hf_relabel.builders.cascade.report import judging_report
    from hf_relabel.builders.cascade.run_choice import run_of
    from hf_relabel.builders.cascade.run_stages import stages_of_run
    from hf_relabel.builders.cascade.verdicts import judged_rows
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.hub_tools.commands.examples import examples_text, relabelled_in
    from hf_relabel.hub_tools.judging.assemble import source_of

    shown: list[dict[str, Any]] = []
    with Journal(journal_path, write=False) as journal, progress_bar("reading") as bar:
        source = source_of(source_settings(options))
        run = run_of(source, journal, run_number).settings
        rows = judged_rows(source, journal, run)

        def passing() -> Iterator[JudgedRow]:
            for row in rows:
                bar.update()
                if len(shown) < examples:
                    shown.extend(relabelled_in(row))
                yield row

        report = judging_report(passing(), stages_of_run(run))
    if as_json:
        print_json({**report.to_dict(), "examples": shown})
    else:
        click.echo("\n\n".join([report.to_text(), *([examples_text(shown)] if shown else [])]))
    if figure:
        _draw([way for way in report.to_dict()["escalation"] if not way["missing"]], Path(figure))


def _draw(ways: Sequence[Mapping[str, Any]], path: Path) -> None:
    from hf_relabel.builders.disk.atomic_file import written_whole
    from hf_relabel.cards.figures.pareto import pareto_png

    if len(ways) < 2:
        raise ConfigError(
            f"{path} was not drawn: it compares ways to escalate from one stage to the next, and the replies of this"
            f" run tell of {len(ways)}. Judge with two stages or more."
        )
    with written_whole(path) as file:
        file.write(pareto_png({"points": ways}))

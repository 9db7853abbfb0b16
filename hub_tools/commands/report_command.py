"""`hf relabel report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.commands.common import command_needs, json_option, print_json, source_options, source_settings
from hf_relabel.hub_tools.commands.progress import progress_bar

EPILOG = """\b
Examples:
  hf relabel report train.jsonl
  hf relabel report train.jsonl --journal judged.sqlite --figure pareto.png
  hf relabel report train.jsonl --json"""


@click.command("report", epilog=EPILOG)
@source_options
@click.option("--journal", "journal_path", default="journal.sqlite", show_default=True, help="Where judgements are.")
@click.option("--figure", help="Write tokens against false negatives of each escalation rule to this PNG file.")
@json_option
def command(journal_path: str, figure: str | None, as_json: bool, **options: Any) -> None:
    """Report on the judges of the last run over SOURCE. Asks nobody.

    Shows whether a judge of lists prefers some places of its prompt, how far judges agree, and what each escalation
    rule would have cost and found on the same replies.
    """
    command_needs("audit")
    from hf_relabel.builders.cascade.report import judging_report
    from hf_relabel.builders.cascade.verdicts import judged_rows, stages_of_run
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.hub_tools.judging.assemble import source_of

    with Journal(journal_path, write=False) as journal, progress_bar("reading") as bar:
        run = journal.last_run()
        rows = judged_rows(source_of(source_settings(options)), journal, run)
        report = judging_report((bar.update() or row for row in rows), stages_of_run(run))
    if as_json:
        print_json(report.to_dict())
    else:
        click.echo(report.to_text())
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

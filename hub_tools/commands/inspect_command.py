"""`hf relabel inspect`."""

from __future__ import annotations

from typing import Any

import click

from hf_relabel.hub_tools.commands.common import json_option, print_json, source_options, source_settings
from hf_relabel.hub_tools.commands.progress import progress_bar
from hf_relabel.hub_tools.commands.spelling import say

EPILOG = """\b
Examples:
  hf relabel inspect train.jsonl
  hf relabel inspect rlhn/default-680K --subset fever --limit 5000
  hf relabel inspect chats.jsonl --column query=prompt --column positive=response
  hf relabel inspect graded.jsonl --relevant-from 2
  hf relabel inspect my-beir-folder --json"""


@click.command("inspect", epilog=EPILOG)
@source_options
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Show what SOURCE holds: its schema, rows and passages per subset, and what is wrong with it.

    Also finds the false negatives that need no judge: negatives equal or nearly equal to a positive. What the negatives
    mean is not looked at: that takes `hf relabel judge`, which calls each of them better (relevant, at least as good as
    the positive), worse (relevant, but less so) or irrelevant.

    \b
    Formats of a row, with the columns they are known by:
      tevatron       query_id, query, positive_passages, negative_passages
      flagembedding  query, pos, neg
      triplet        anchor, positive, negative
      n-tuple        anchor, positive, negative_1, negative_2, …
      negative-list  query, positive, negatives (a list)
      labeled-list   query, docs (a list), labels (a list of 0 and 1)
      labeled-pairs  query, passage, label; rows of a query follow each other
      dpr            question, positive_ctxs, hard_negative_ctxs, negative_ctxs
      msmarco        query, passages {passage_text, is_selected}
      pairs          query, positive: `hf relabel mine` finds the negatives
      beir           a folder of corpus.jsonl, queries.jsonl and qrels/
      rlhn-replies   tevatron with response and finish_reason

    \b
    Columns of other names are said with --column ROLE=COLUMN:
      query, positive, negative     of triplets, tuples, lists and pairs
      passage, label                of labelled pairs and lists
      id, subset, docid, title      of the query, the row, the only passage
      ignore                        a column of text that is not to be read
    Only where one column is left it is guessed, and said to be. Grades and
    scores are no labels until --relevant-from says what makes a positive.
    """
    from hf_relabel.builders.sources.inspection import inspect
    from hf_relabel.hub_tools.judging.assemble import source_of

    source = source_of(source_settings(options), pairs=True)
    with progress_bar("reading") as bar:
        report = inspect(source, progress=lambda rows: bar.update(rows - bar.n))
    if as_json:
        print_json(report.to_dict())
    else:
        say(report.to_text())

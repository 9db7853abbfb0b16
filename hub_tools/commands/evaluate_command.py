"""`hf relabel evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hf_relabel.builders.messages.text_table import text_table
from hf_relabel.hub_tools.commands.common import EVAL_HELP, command_needs, json_option, print_json
from hf_relabel.hub_tools.commands.progress import progress_bar

if TYPE_CHECKING:
    from hf_relabel.trainers.evaluation.summary import SummaryLine

EPILOG = """\b
Examples:
  hf relabel evaluate model --eval beir/scifact
  hf relabel evaluate intfloat/e5-base-v2 --eval nanobeir --json
  hf relabel evaluate intfloat/e5-base-v2 --eval beir-16:beir --eval air-bench-5
  hf relabel evaluate reranker --eval beir/scifact --first-stage bm25.trec
  hf relabel evaluate --run ranking.trec --eval beir/scifact"""


@click.command("evaluate", epilog=EPILOG)
@click.argument("model", required=False)
@click.option("--eval", "sets", multiple=True, metavar="SET", required=True, help=EVAL_HELP)
@click.option("--metric", "metrics", multiple=True, help="ndcg@10, map@100, recall@100, mrr@10 … May be repeated.")
@click.option("--revision", help="Branch, tag or commit of a model on the Hub.")
@click.option("--run", "run_file", help="Measure this TREC run instead of a model.")
@click.option("--first-stage", help="TREC run that a reranker orders anew; BM25's ranking when not given.")
@click.option("--save-run", help="Write the ranking as a TREC run. With several sets, a folder.")
@click.option("--top-k", default=100, show_default=True, type=click.IntRange(min=1), help="Depth of the ranking.")
@click.option("--device", help="torch device, such as cpu; found out when not given.")
@json_option
def command(
    model: str | None,
    sets: tuple[str, ...],
    metrics: tuple[str, ...],
    revision: str | None,
    run_file: str | None,
    first_stage: str | None,
    save_run: str | None,
    top_k: int,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure MODEL (a folder or a Hub id), or a ranking that is there, as trec_eval does."""
    command_needs("evaluate")
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.trainers.evaluation.evaluator import METRICS, evaluate_model, evaluate_run
    from hf_relabel.trainers.evaluation.opening import open_sets
    from hf_relabel.trainers.evaluation.runs import read_run
    from hf_relabel.trainers.loading import load_model
    from hf_relabel.trainers.quiet import quiet_libraries

    if (model is None) == (run_file is None):
        raise ConfigError("Name a model or a run to measure (--run), one of them.")
    opened, chosen = open_sets(sets), metrics or METRICS
    done = []
    if run_file is not None:
        done = [evaluate_run(read_run(run_file), data, metrics=chosen) for data in opened]
    elif model is not None:
        with quiet_libraries():
            loaded = load_model(model, revision=revision, device=device)
            earlier = None if first_stage is None else read_run(first_stage)
            for data in opened:
                with progress_bar(data.about.name, unit=" documents") as bar:
                    done.append(
                        evaluate_model(
                            loaded,
                            data,
                            metrics=chosen,
                            first_stage=earlier,
                            top_k=top_k,
                            progress=partial(_show_progress, bar),
                        )
                    )
    if save_run is not None:
        _save(done, save_run)
    _show(done, as_json)


def _show_progress(bar: Any, number: int) -> None:
    bar.update(number - bar.n)


def _save(done: list[Any], place: str) -> None:
    from hf_relabel.trainers.evaluation.runs import write_run

    if len(done) == 1:
        write_run(done[0].run, place)
        return
    Path(place).mkdir(parents=True, exist_ok=True)
    for each in done:
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in each.measured.set.name)
        write_run(each.run, Path(place) / f"{name}.trec")


def _show(done: list[Any], as_json: bool) -> None:
    from hf_relabel.trainers.evaluation.summary import summary

    found = summary(done)
    if as_json:
        sets = [
            {**each.measured.model_dump(mode="json", exclude_none=True), "interval": line.interval}
            for each, line in zip(done, found, strict=False)
        ]
        print_json([*sets, *(line.record() for line in found[len(done) :])])
        return
    click.echo(text_table(list(map(_line, found)), floatfmt=".4f", missingval="not known"))
    click.echo(f"Intervals: where other queries would put {next(iter(found[0].metrics))}; nothing of other runs.")


def _line(line: SummaryLine) -> dict[str, Any]:
    (first, value), *others = line.metrics.items()
    name = line.name if line.sets is None else f"mean of {line.name}"
    interval = None if line.interval is None else "[{:.4f}, {:.4f}]".format(*line.interval)
    return {"set": name, "queries": line.queries, first: value, "95 % interval": interval, **dict(others)}

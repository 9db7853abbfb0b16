"""Half of the judgements of a test set hidden: how many are found again, and does the order of systems come closer?

    python -m tests.benchmarks.bench_qrels ../shared/data/classic [--seeds 5] [--work FOLDER]

Each folder holds beir/ (and rows.jsonl, which one of the systems is trained on). In each seed every relevant judgement
is hidden with a chance of one half. Five systems, chosen beforehand, rank the corpus: BM25, the static student as it
begins and after its few steps on rows.jsonl as they were mined, MiniLM on the first 30 documents of BM25 and of the
student as it begins (vectors of a whole corpus take an hour on a CPU), and BM25 with MiniLM by reciprocal ranks. Their
first 10 documents are pooled and judged as `hf relabel qrels` does it, by

- similarity, with its own threshold and a lower one (the judge is one of the systems, so this is partial);
- a student trained on what is visible alone: half of it is hidden once more, and of the pool of the rest the student
  learns which documents those are. Documents that are truly relevant and hidden count as not relevant there;
- simulated judges, which call better so many of the hidden ones (recall) and so many others, drawn by chance, as their
  precision leaves: all positions are alike to them, which real judges' errors are not.

Precision counts every unnamed document as not relevant. That is so in Cranfield; elsewhere in `classic` some are merely
unjudged, so precision is at least what is told. Tau is Kendall's between the order of the systems by nDCG@10 on what is
visible, or on that with what was found, and the order on all judgements, on the same queries: the mean over seeds, with
95 % intervals of a bootstrap over queries (what is hidden stays the same). "nDCG@10 off" is how far that of a system is
from the one by all judgements, on average. With --work vectors, runs and the trained student are kept.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.journal.store import Journal
from hf_relabel.builders.judgements import Judgement, Label
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student import StudentJudge
from hf_relabel.builders.qrels.collection import Collection, Grades, read_collection, read_grades
from hf_relabel.builders.qrels.merging import write_tsv
from hf_relabel.builders.qrels.pooling import pool_rows, pooled, texts_of
from hf_relabel.builders.rows import joined_text
from hf_relabel.builders.sources import open_source
from hf_relabel.hub_tools.judging.run import judge
from hf_relabel.trainers.data.training_data import open_training_data
from hf_relabel.trainers.evaluation.metrics.ranking import ranking_metrics
from hf_relabel.trainers.evaluation.runs import read_run, write_run
from hf_relabel.trainers.evaluation.search import bm25, search
from hf_relabel.trainers.evaluation.sets import RetrievalSet, Run
from hf_relabel.trainers.loading import load_model
from hf_relabel.trainers.qrels.extending import Pooled, extend, pool_documents
from hf_relabel.trainers.qrels.systems import rankings, retrieval_set
from hf_relabel.trainers.recipes.recipe import load_recipe
from hf_relabel.trainers.students.judge_student import StudentExample, train_student
from hf_relabel.trainers.students.static import PACKAGED_TEACHER, default_student, static_student
from hf_relabel.trainers.training.run import train
from tests.benchmarks.judged_sets import STEPS, vectors_kept
from tests.benchmarks.measuring import Figure, emit, own_peak_mb

DEPTH, TOP_K, REORDERED, RESAMPLES, FUSED = 10, 100, 30, 2_000, 60
LOWER = 0.7
"""The lower threshold of similarity."""
STUDENT_PRECISION = 0.5
SIMULATED = ((1.0, 1.0), (0.9, 0.7), (0.7, 0.7), (0.5, 0.7), (0.3, 0.7))
"""Precision and recall."""
CRANFIELD = "cran-"


# The systems


def systems(folder: Path, data: RetrievalSet, work: Path) -> dict[str, Path]:
    """Run files of the five systems, made where they are not there."""
    files: dict[str, Path] = {}
    made: dict[str, Run] = {}
    for name in ("bm25", "static", "static-trained", "minilm", "fused"):
        files[name] = work / f"{name}.trec"
        if not files[name].exists():
            write_run(_ranked(name, folder, data, work, made), files[name])
        made[name] = read_run(files[name])
    return files


def _ranked(name: str, folder: Path, data: RetrievalSet, work: Path, made: Mapping[str, Run]) -> Run:
    if name == "bm25":
        return bm25(data, top_k=TOP_K)
    if name == "static":
        return search(static_student(PACKAGED_TEACHER), data, top_k=TOP_K)
    if name == "static-trained":
        recipe = load_recipe(default_student().model_dump(), max_steps=STEPS.get(folder.name, 60))
        train(recipe, open_training_data(folder / "rows.jsonl"), work / "trained", progress=False, overwrite=True)
        return search(load_model(str(work / "trained")), data, top_k=TOP_K)
    return _fused(made["bm25"], made["minilm"]) if name == "fused" else _minilm(data, first_documents(made, data))


def first_documents(made: Mapping[str, Run], data: RetrievalSet) -> dict[str, list[str]]:
    """Of each query the first documents of BM25 and of the untrained student together."""
    short = rankings({name: made[name] for name in ("bm25", "static")}, REORDERED)
    return {
        query_id: list(dict.fromkeys(docid for ranking in short.values() for docid in ranking.get(query_id, ())))
        for query_id in data.queries
    }


def _minilm(data: RetrievalSet, firsts: Mapping[str, Sequence[str]]) -> Run:
    """By the vectors that the similarity judge takes too, so that no text is encoded twice."""
    wanted = {docid for docids in firsts.values() for docid in docids}
    texts = {each.docid: joined_text(each.title, each.text) for each in data.corpus() if each.docid in wanted}
    encoder = SimilarityJudge(PACKAGED_TEACHER)
    queries = encoder.vectors(list(data.queries.values()), "query")
    documents = encoder.vectors(sorted(texts.values(), key=len), "document")
    return {
        query_id: {docid: float(documents[texts[docid]] @ queries[data.queries[query_id]]) for docid in docids}
        for query_id, docids in firsts.items()
    }


def _fused(*runs: Run) -> Run:
    """Reciprocal rank fusion (Cormack et al., 2009)."""
    fused: dict[str, dict[str, float]] = {}
    for ranking in rankings(dict(enumerate(runs)), TOP_K).values():  # type: ignore[arg-type]
        for query_id, docids in ranking.items():
            scores = fused.setdefault(query_id, {})
            for rank, docid in enumerate(docids, start=1):
                scores[docid] = scores.get(docid, 0.0) + 1 / (FUSED + rank)
    return fused


# The judges


class Simulated:
    """Calls better a share of what is relevant, and so many others that its precision is the one stated."""

    kind, revision, exempt_subsets, batch_rows = "simulated", None, (), 256

    def __init__(self, precision: float, recall: float, truth: Grades, pool: Pooled, seed: int) -> None:
        self.name = f"simulated {precision:g} / {recall:g}"
        chance = np.random.default_rng(seed)
        pairs = [(query_id, each.docid) for query_id, found in pool.pool.items() for each in found]
        relevant = [pair for pair in pairs if truth[pair[0]].get(pair[1], 0) > 0]
        others = [pair for pair in pairs if truth[pair[0]].get(pair[1], 0) <= 0]
        hits = round(recall * len(relevant))
        wrong = min(round(hits * (1 - precision) / precision), len(others))
        self.better = {relevant[place] for place in chance.choice(len(relevant), hits, replace=False)}
        self.better |= {others[place] for place in chance.choice(len(others), wrong, replace=False)}

    def settings(self) -> dict[str, Any]:
        return {"answers_by": "ids"}

    def model(self) -> tuple[str, None]:
        return self.name, None

    def judge(self, batch: Sequence[tuple[Any, Sequence[int]]]) -> list[dict[int, Judgement]]:
        return [{place: Judgement(self._label(row, place)) for place in places} for row, places in batch]

    def _label(self, row: Any, place: int) -> Label:
        is_better = (row.query_id, row.negative_passages[place].docid) in self.better
        return Label.BETTER if is_better else Label.IRRELEVANT


def hidden_half(grades: Grades, seed: int) -> dict[str, dict[str, int]]:
    """The judgements without each relevant one that a coin hides."""
    chance = np.random.default_rng(seed)
    kept = {
        query_id: {docid: grade for docid, grade in judged.items() if grade <= 0 or chance.random() < 0.5}
        for query_id, judged in grades.items()
    }
    return {query_id: judged for query_id, judged in kept.items() if judged}


def student_of(visible: Collection, runs: Mapping[str, Run], out: Path, seed: int) -> StudentJudge | None:
    """A student that learnt from the visible judgements alone; None where they cannot teach one."""
    less = hidden_half(visible.grades, seed + 1_000)
    collection = replace(visible, grades=less)
    pool = pooled(rankings(runs, DEPTH), collection, DEPTH)
    rows = open_source(list(pool_rows(collection, pool, texts_of(collection, pool))))
    examples = [
        StudentExample(numbered.row, place, visible.grades[numbered.row.query_id].get(passage.docid, 0) > 0)
        for numbered in rows.rows()
        for place, passage in enumerate(numbered.row.negative_passages)
    ]
    try:
        train_student(examples, out, model=PACKAGED_TEACHER, precision=STUDENT_PRECISION, seed=seed)
    except ConfigError:
        return None
    return StudentJudge(str(out))


def judges(pool: Pooled, truth: Grades, out: Path, seed: int) -> Iterator[tuple[str, Any]]:
    yield "similarity", SimilarityJudge(PACKAGED_TEACHER)
    yield f"similarity, from {LOWER} on", SimilarityJudge(PACKAGED_TEACHER, better=LOWER, worse=0.5)
    yield "student", student_of(pool.collection, pool.runs, out, seed)
    for precision, recall in SIMULATED:
        made = Simulated(precision, recall, truth, pool, seed)
        yield made.name, made


# Measuring


@dataclass(frozen=True)
class Outcome:
    """What one judge found in one seed.

    Attributes:
        found, right: judgements added, and those of them that all judgements have; `cranfield` those of Cranfield.
        visible, extended, whole: nDCG@10 by the judgements, (systems, queries); NaN where a query has none visible.
    """

    found: int
    right: int
    cranfield: tuple[int, int]
    in_pool: int
    hidden: int
    visible: np.ndarray
    extended: np.ndarray
    whole: np.ndarray


def per_query(runs: Mapping[str, Run], grades: Grades, query_ids: Sequence[str], visible: Grades) -> np.ndarray:
    """nDCG@10 of each system and query; NaN for a query that has nothing visible."""
    there = {query_id: grades[query_id] for query_id in visible}
    values = [ranking_metrics(run, there) for run in runs.values()]
    nothing = {"ndcg@10": float("nan")}
    return np.array([[line.get(query_id, nothing)["ndcg@10"] for query_id in query_ids] for line in values])


def outcome(work: Pooled, truth: Grades, said: Any, journal_path: Path) -> Outcome:
    """Judge the pool, extend the judgements as the command does, and hold them against all."""
    judge(work.source(), said, journal_path, progress=None)
    with Journal(journal_path, write=False) as journal:
        extend(work, journal)
    visible, after = work.collection.grades, read_grades(work.out / "qrels" / "test.tsv")
    new = [(q, docid) for q, known in after.items() for docid in known if docid not in visible[q]]
    right = [pair for pair in new if truth[pair[0]].get(pair[1], 0) > 0]
    candidates = [(query_id, each.docid) for query_id, found in work.pool.items() for each in found]
    relevant = sum(grade > 0 for grades in truth.values() for grade in grades.values())
    shown = sum(grade > 0 for grades in visible.values() for grade in grades.values())
    ids = list(truth)
    return Outcome(
        found=len(new),
        right=len(right),
        cranfield=tuple(sum(q.startswith(CRANFIELD) for q, _ in pairs) for pairs in (new, right)),  # type: ignore[arg-type]
        in_pool=sum(truth[q].get(docid, 0) > 0 for q, docid in candidates),
        hidden=relevant - shown,
        visible=per_query(work.runs, visible, ids, visible),
        extended=per_query(work.runs, after, ids, visible),
        whole=per_query(work.runs, truth, ids, visible),
    )


def signs(means: np.ndarray) -> np.ndarray:
    """Of each pair of systems (the first axis), which is better."""
    return np.array([np.sign(means[one] - means[other]) for one, other in combinations(range(len(means)), 2)])


def taus(outcomes: Sequence[Outcome], drawn: np.ndarray) -> np.ndarray:
    """Mean over seeds of tau to the whole, before and after, and of how far nDCG@10 is off; (4, draws).

    Args:
        drawn: how often each query counts, (draws, queries).
    """
    found = []
    for each in outcomes:
        there = ~np.isnan(each.visible[0])
        weights = drawn[:, there] / drawn[:, there].sum(axis=1, keepdims=True)
        before, after, whole = (table[:, there] @ weights.T for table in (each.visible, each.extended, each.whole))
        agree = [(signs(means) * signs(whole)).mean(axis=0) for means in (before, after)]
        found.append([*agree, *(np.abs(means - whole).mean(axis=0) for means in (before, after))])
    return np.mean(found, axis=0)


def line(name: str, outcomes: Sequence[Outcome], seed: int = 0) -> dict[str, Any]:
    """A line of the table."""
    queries = outcomes[0].visible.shape[1]
    once = taus(outcomes, np.ones((1, queries)))[:, 0]
    chance = np.random.default_rng(seed)
    drawn = taus(outcomes, chance.multinomial(queries, [1 / queries] * queries, size=RESAMPLES).astype(float))
    change = np.percentile(drawn[1] - drawn[0], [2.5, 97.5])
    found, right = sum(each.found for each in outcomes), sum(each.right for each in outcomes)
    of_cranfield, right_there = (sum(each.cranfield[which] for each in outcomes) for which in (0, 1))
    return {
        "judge": name,
        "found": found / len(outcomes),
        "precision": right / found if found else None,
        "precision, Cranfield": right_there / of_cranfield if of_cranfield else None,
        "of those in the pool": right / sum(each.in_pool for each in outcomes),
        "of all hidden": right / sum(each.hidden for each in outcomes),
        "tau before": once[0],
        "before interval": np.percentile(drawn[0], [2.5, 97.5]).tolist(),
        "tau after": once[1],
        "after interval": np.percentile(drawn[1], [2.5, 97.5]).tolist(),
        "change": once[1] - once[0],
        "change interval": change.tolist(),
        "nDCG@10 off before": once[2],
        "nDCG@10 off after": once[3],
        "seeds": len(outcomes),
    }


def measured(
    folder: Path, work: Path, seeds: int, prefixes: tuple[str, ...] = ("",)
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The lines of a folder, and nDCG@10 of its systems by all judgements.

    Args:
        prefixes: of the ids of the queries that are taken.
    """
    whole = read_collection(folder / "beir")
    grades = {query_id: judged for query_id, judged in whole.grades.items() if query_id.startswith(prefixes)}
    whole = replace(whole, grades=grades, queries={query_id: whole.queries[query_id] for query_id in grades})
    data = retrieval_set(whole)
    files = systems(folder, data, work)
    outcomes: dict[str, list[Outcome]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            half = scratch / folder.name
            (half / "qrels").mkdir(parents=True)
            for file in ("corpus.jsonl", "queries.jsonl"):
                (half / file).symlink_to((folder / "beir" / file).resolve())
            write_tsv(half / "qrels" / "test.tsv", hidden_half(whole.grades, seed))
            pool = pool_documents(half, [str(file) for file in files.values()], scratch / "out", depth=DEPTH)
            for number, (said, one) in enumerate(judges(pool, whole.grades, scratch / "student", seed)):
                if one is not None:
                    made = outcome(pool, whole.grades, one, scratch / f"{number}.sqlite")
                    outcomes.setdefault(said, []).append(made)
    means = {name: float(np.mean(_values(read_run(file), whole.grades))) for name, file in files.items()}
    return [line(name, found) for name, found in outcomes.items()], means


def _values(run: Run, grades: Grades) -> list[float]:
    return [values["ndcg@10"] for values in ranking_metrics(run, grades).values()]


def figures(folder: str, lines: Sequence[Mapping[str, Any]]) -> list[Figure]:
    return [
        Figure(
            f"tau of five systems, {each['judge']}",
            each["tau after"],
            "",
            f"{folder}, {each['seeds']} seeds",
            beside=f"before {each['tau before']:.2f}",
            note=f"precision {each['precision'] or 0:.2f}, {each['of all hidden']:.2f} of the hidden found",
        )
        for each in lines
    ]


def text(lines: Sequence[Mapping[str, Any]], means: Mapping[str, float]) -> str:
    """The table, in Markdown."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    def tau(each: Mapping[str, Any], name: str) -> str:
        low, high = each[f"{name.removeprefix('tau ')} interval"]
        return f"{each[name]:.2f} [{low:.2f}, {high:.2f}]"

    rows = [
        [
            each["judge"],
            f"{each['found']:.0f}",
            f"{share(each['precision'])} ({share(each['precision, Cranfield'])})",
            f"{share(each['of those in the pool'])}, {share(each['of all hidden'])}",
            tau(each, "tau before"),
            tau(each, "tau after"),
            f"{each['change']:+.2f} [{each['change interval'][0]:+.2f}, {each['change interval'][1]:+.2f}]",
            f"{each['nDCG@10 off before']:.3f} > {each['nDCG@10 off after']:.3f}",
        ]
        for each in lines
    ]
    header = ["judge", "found", "precision (Cranfield)", "of the pool's, of all hidden", "tau before", "tau after"]
    table = tabulate(rows, [*header, "change", "nDCG@10 off"], tablefmt="github", disable_numparse=True)
    order = sorted(means.items(), key=lambda each: -each[1])
    return f"{table}\n\nBy all judgements: {', '.join(f'{name} {value:.3f}' for name, value in order)}."


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Hide half of the judgements and find them again.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--queries", nargs="+", default=[""], metavar="PREFIX", help="only queries with such ids")
    parser.add_argument("--work", type=Path, help="keep vectors, runs and the trained student here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for folder in options.folders:
        with ExitStack() as stack:
            given = options.work
            work = Path(stack.enter_context(tempfile.TemporaryDirectory())) if given is None else given / folder.name
            work.mkdir(parents=True, exist_ok=True)
            stack.enter_context(vectors_kept(work / "vectors.npz"))
            lines, means = measured(folder, work, options.seeds, tuple(options.queries))
        found[folder.name] = {"lines": lines, "systems": means}
        if not options.json:
            print(f"{folder.name}, {options.seeds} seeds\n\n{text(lines, means)}\n")
    if options.json:
        all_figures = [each for name, one in found.items() for each in figures(name, one["lines"])]
        emit("test sets", all_figures, as_json=True, peak_mb=own_peak_mb(), evidence=found)


if __name__ == "__main__":
    main()

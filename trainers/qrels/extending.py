"""Extending the judgements of a BEIR folder: pool, then judge (elsewhere), then merge, measure and write.

work = pool_documents("beir/fiqa", ["bm25", "model.trec"], "extended")
judge(work.pool_path, "listwise", "journal.sqlite", endpoint="http://127.0.0.1:8080")
with Journal("journal.sqlite", write=False) as journal:
    print(extend(work, journal))
"""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.audit.figures import Estimate
from hf_relabel.builders.cascade.run_choice import run_of
from hf_relabel.builders.cascade.run_stages import stages_of_run
from hf_relabel.builders.cascade.verdicts import verdicts
from hf_relabel.builders.disk.atomic_file import writes
from hf_relabel.builders.disk.atomic_folder import check_place, link_or_copy, new_folder
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.qrels.collection import Collection, Findings, find, read_collection, read_grades
from hf_relabel.builders.qrels.merging import (
    Judged,
    judged_pool,
    merged,
    qrels_records,
    record,
    share_judged,
    without_dangling,
    write_records,
    write_tsv,
)
from hf_relabel.builders.qrels.pooling import Pool, Texts, pool_rows, pooled, texts_of, write_pool
from hf_relabel.builders.sources import Source, open_source
from hf_relabel.trainers.evaluation.search import Progress
from hf_relabel.trainers.evaluation.sets import Run
from hf_relabel.trainers.qrels.readme import README_NAME, readme
from hf_relabel.trainers.qrels.report import Found, QrelsReport
from hf_relabel.trainers.qrels.systems import rankings, read_systems, retrieval_set
from hf_relabel.trainers.qrels.systems_measured import DEPTH as MEASURED_DEPTH
from hf_relabel.trainers.qrels.systems_measured import kendall_tau, measure

if TYPE_CHECKING:
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.journal.store import Journal

POOL_NAME, QRELS_NAME, JUDGED_NAME = "pool.jsonl", "qrels.parquet", "judged.parquet"
logger = logging.getLogger(__name__)

LEAST_WANTED = 0.5
"""Precision of thresholds below which a warning is due."""
AUDITED = 2_000
"""Candidates at most that are looked up in a truth file; where the pool has more, a stratified sample of it."""


@dataclass(frozen=True)
class Pooled:
    """What is to be judged.

    Attributes:
        folder, out: the BEIR folder, and the one that is written.
        runs: the systems by name.
        rows: of the pool, in `pool_path`; 0 where nothing is to be judged.
    """

    folder: Path
    out: Path
    depth: int
    collection: Collection
    runs: Mapping[str, Run]
    pool: Pool
    texts: Texts
    findings: Findings
    rows: int

    @property
    def pool_path(self) -> Path:
        return self.out / POOL_NAME

    @property
    def candidates(self) -> int:
        return sum(map(len, self.pool.values()))

    def source(self) -> Source:
        return open_source(self.pool_path)


def _unwatched(_: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda _: None)


def pool_documents(
    folder: str | Path,
    runs: Sequence[str],
    out: str | Path,
    *,
    split: str = "test",
    depth: int = 10,
    watched: Callable[[str], AbstractContextManager[Progress]] = _unwatched,
) -> Pooled:
    """Pool what runs rank high and nobody judged, and write it as rows to `out/pool.jsonl`.

    Args:
        runs: files, `bm25` or models, see `systems.read_systems`.
        depth: documents of each run that are looked at.
        watched: around the search of a model.

    Raises:
        SourceError, BadRow: the folder or a run cannot be read.
        ConfigError: a run is none of this set, `out` is the folder itself, or has judgements of another split or set.
        BuildError: `out` is somebody else's, or cannot be written.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and folder.exists() and out.samefile(folder):
        raise ConfigError(f"{out} is the BEIR folder itself: write elsewhere, it stays as it is.")
    check_place(out, _is_ours, mark=POOL_NAME)
    collection = read_collection(folder, split=split)
    _check_other_splits(folder, out, split)
    systems = read_systems(runs, retrieval_set(collection), depth=depth, watched=watched)
    pool = pooled(rankings(systems, depth), collection, depth)
    texts = texts_of(collection, pool)
    findings = find(collection, texts)
    pool = {query_id: found for query_id, found in pool.items() if query_id not in findings.without_relevant}
    with writes(out):
        out.mkdir(parents=True, exist_ok=True)
    rows = write_pool(out / POOL_NAME, pool_rows(collection, pool, texts))
    return Pooled(folder, out, depth, collection, systems, pool, texts, findings, rows)


def _check_other_splits(folder: Path, out: Path, split: str) -> None:
    """What was added to another split would be lost, and that of another set be taken for one of this."""
    for path in sorted((out / "qrels").glob("*")):
        source = folder / "qrels" / path.name
        if path.name != f"{split}.tsv" and not (source.exists() and filecmp.cmp(source, path, shallow=False)):
            raise ConfigError(
                f"{path} holds other judgements than {folder}, such as those that were added to that split."
                f" Write elsewhere; to extend a second split, extend {out}."
            )


def extend(
    work: Pooled,
    journal: Journal | None,
    *,
    run: int | None = None,
    calibration: Calibration | None = None,
    truth: str | Path | None = None,
    audit: str | Path | None = None,
    grade: int = 1,
    min_judged: float | None = None,
    drop_dangling: bool = False,
) -> QrelsReport:
    """Merge what was judged relevant into the judgements, write the folder, and say what that changes.

    Args:
        journal: that the pool was judged into; None where nothing was to be judged.
        run: of the journal; None for the last one whose judges answered nearly all of the pool.
        calibration: its thresholds decide, and only what is sure becomes a judgement.
        truth: judgements that know more, a file as in qrels/: they say how many are right. What they do not name, of
            the queries that they have, counts as not relevant.
        audit: what `audit report --json` printed of the same judges.
        grade: of new judgements.
        min_judged: the share of the pool that must have been judged; None for .95.
        drop_dangling: leave out judgements that name no query or no document.

    Raises:
        NotJudged: too little was judged.
        ConfigError: the calibration or the audit is of other judges, or cannot be read.
        BuildError: the folder cannot be written.
    """
    if truth is not None and audit is not None:
        raise ConfigError("Give either a truth file or an audit, not both.")
    if calibration is not None and calibration.zones.wanted < LEAST_WANTED:
        logger.warning(
            "The thresholds are backed to hold a precision of %.3g only: enough to train on, little for a test set. Fit"
            " them again with %s and %s.",
            calibration.zones.wanted,
            argument("precision", 0.9),
            argument("probability", 0.9),
        )
    source = work.source() if work.rows else None
    settings = run_of(source, journal, run).settings if source is not None and journal is not None else None
    judged = _judged(work, source, journal, settings, calibration, min_judged)
    kept = without_dangling(work.collection, work.texts) if drop_dangling else work.collection.grades
    after = merged(kept, judged, grade)
    precision, recall, measured_by = _measured(source, journal, settings, calibration, truth, audit)
    relevant = [each for each in judged if each.is_relevant]
    copies = sum(each.label is None for each in relevant)
    systems = _systems(work, after, judged, kept)
    report = QrelsReport(
        name=work.collection.name,
        split=work.collection.files.split,
        out=str(work.out),
        depth=work.depth,
        queries=len(work.collection.queries),
        pooled=len(work.pool),
        share=share_judged(judged),
        calibrated=calibration is not None,
        found=Found(
            judged=len(relevant) - copies,
            copies=copies,
            queries=len({each.query_id for each in relevant}),
            precision=precision,
            recall=recall,
            measured_by=measured_by,
        ),
        systems=systems,
        tau=kendall_tau([each.before.mean for each in systems], [each.after.mean for each in systems]),
        findings=work.findings,
        dropped=sum(map(len, work.collection.grades.values())) - sum(map(len, kept.values())),
        notes=tuple(_notes(work, settings)),
    )
    _write(work, report, after, judged, grade)
    return report


def _judged(
    work: Pooled,
    source: Source | None,
    journal: Journal | None,
    settings: Mapping[str, Any] | None,
    calibration: Calibration | None,
    min_judged: float | None,
) -> list[Judged]:
    if source is None:
        return []
    if journal is None or settings is None:
        raise ConfigError("The pool needs a journal that it was judged into.")
    said = verdicts(source, journal, settings, calibration=calibration)
    judged = list(judged_pool(said, work.pool, settings, calibration))
    share_judged(judged).check(str(work.pool_path), journal, min_judged)
    return judged


def _systems(work: Pooled, after: Any, judged: Sequence[Judged], kept: Any) -> Any:
    """The systems by the queries that are there, whatever else is judged."""
    queries = work.collection.queries
    before = {query_id: work.collection.grades[query_id] for query_id in queries}
    new = {query_id: after.get(query_id, {}) for query_id in queries}
    known = {query_id: set(grades) for query_id, grades in before.items()}
    for each in judged:
        if each.is_judged:
            known[each.query_id].add(each.candidate.docid)
    return measure(work.runs, rankings(work.runs, MEASURED_DEPTH), before, new, known)


def _measured(
    source: Source | None,
    journal: Journal | None,
    settings: Mapping[str, Any] | None,
    calibration: Calibration | None,
    truth: str | Path | None,
    audit: str | Path | None,
) -> tuple[Estimate | None, Estimate | None, str]:
    """Precision and recall of what is called relevant in the pool, and what says so."""
    if source is None or journal is None or settings is None or (truth is None and audit is None):
        return None, None, ""
    if audit is not None:
        verdict = _audited(audit, settings, calibrated=calibration is not None)
        return _estimate(verdict["precision"]), _estimate(verdict["recall"]), f"the audit in {Path(audit).name}"
    assert truth is not None
    from hf_relabel.builders.audit.answers import answers_from_truth
    from hf_relabel.builders.audit.draw import draw_audit
    from hf_relabel.builders.audit.report import audit_report

    known = {
        query_id: frozenset(docid for docid, grade in grades.items() if grade > 0)
        for query_id, grades in read_grades(truth).items()
    }
    seed = 0 if calibration is None or calibration.seed is None else calibration.seed + 1
    sample = draw_audit(source, journal, size=AUDITED, seed=seed, calibration=calibration)
    found = audit_report(sample, answers_from_truth(known, sample)).verdict
    return found.precision, found.recall, Path(truth).name


def _audited(path: str | Path, settings: Mapping[str, Any], *, calibrated: bool) -> Mapping[str, Any]:
    """What an audit says of the verdicts. Raises: ConfigError, where it is of others."""
    from hf_relabel.builders.audit.drift import earlier_audit
    from hf_relabel.builders.cascade.same_judges import check_same_judges, tell_unknown

    audit = earlier_audit(path)
    known = check_same_judges(
        audit.get("stages"),
        settings["stages"],
        what=f"The audit in {path} is of the verdicts of",
        of="the pool was judged by",
        then="Audit these, or leave the audit out.",
    )
    if not known:
        tell_unknown(str(path), "the audit", "the pool")
    if bool(audit.get("calibrated")) is not calibrated:
        of = ("the judges' labels", "the thresholds of a calibration")
        raise ConfigError(
            f"The audit in {path} is of the verdicts by {of[not calibrated]}, and here those by {of[calibrated]} count."
            " Audit these, or leave the audit out."
        )
    verdict: Mapping[str, Any] = audit["verdict"]
    return verdict


def _estimate(values: Mapping[str, float | None]) -> Estimate:
    return Estimate(values["value"], values["low"], values["high"])


def _notes(work: Pooled, settings: Mapping[str, Any] | None) -> Iterator[str]:
    judges = {judge.model for stage in stages_of_run(settings or {"stages": ()}) for judge in stage.judges}
    for name in work.runs:
        if judges & {name, Path(name).name}:  # of a folder the journal keeps the last part
            yield (
                f"{name} is a judge and a system: what it finds relevant is what it ranks high, which favours it. Take"
                " another judge to compare it with others."
            )
    for name, run in work.runs.items():
        if missing := len(work.collection.queries) - len(run):
            yield f"{name} has no ranking for {missing:,} of the judged queries: they count 0."


def _write(work: Pooled, report: QrelsReport, after: Any, judged: Sequence[Judged], grade: int) -> None:
    """The folder, whole or not at all: what was there stays until all that is new is written."""
    out, split = work.out, work.collection.files.split
    with writes(out), new_folder(out, is_ours=_is_ours) as building:
        folder = building.path
        for name in _carried(work):
            link_or_copy((work.folder / name).resolve(), folder / name)
        (folder / "qrels").mkdir(exist_ok=True)
        write_tsv(folder / "qrels" / f"{split}.tsv", after)
        new = {(each.query_id, each.candidate.docid) for each in judged if each.is_relevant}
        write_records(folder / QRELS_NAME, qrels_records(after, judged))
        write_records(
            folder / JUDGED_NAME,
            (record(each, grade if (each.query_id, each.candidate.docid) in new else None) for each in judged),
        )
        building.write(README_NAME, readme(report, folder, building.earlier_text(README_NAME)).encode())
        building.keep_others(ours=())


def _is_ours(folder: Path) -> bool:
    return (folder / POOL_NAME).exists() or not any(folder.iterdir())


def _carried(work: Pooled) -> list[str]:
    """The files that go into the new folder as they are."""
    files = work.collection.files
    return [files.corpus.name, files.queries.name, *(file.name for file in work.collection.others)]

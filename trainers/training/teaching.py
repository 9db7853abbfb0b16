"""What a recipe's teacher makes of the rows, before anything is trained."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.cards.training_report import DataUsed, Teaching
from hf_relabel.trainers.data.rows import RowDraw
from hf_relabel.trainers.data.teachers import load_teacher
from hf_relabel.trainers.data.teaching import Taught, score_table, with_scores, without_near_negatives
from hf_relabel.trainers.data.training_data import replace_rows
from hf_relabel.trainers.devices import is_first
from hf_relabel.trainers.recipes.recipe import DistillationTeacher, PercPosTeacher, Recipe, TeacherSettings
from hf_relabel.trainers.training.kinds import least_negatives

logger = logging.getLogger(__name__)

SCORES = "teacher-scores-*.arrow"
"""In a run's folder until it is over: a run that goes on asks its teacher nothing again. Runs of a comparison have one
folder for all."""
SAME = 0.99
"""Above this share of the passages the distribution is flat."""
HARD = 1.1
"""Effective passages below which a teacher says no more than a label."""


def taught(
    recipe: Recipe, rows: Any, used: DataUsed, *, fingerprint: str, seed: int, device: str | None, out: Path
) -> tuple[Any, DataUsed, Teaching | None]:
    """The rows as the recipe's teacher leaves them; as they are, where it has none.

    Args:
        rows: those that the recipe can train on.
        fingerprint: of the rows' data.
        out: where the scores are kept: the run's folder, or one of several runs.

    Returns:
        The rows, what is told of them, and what the teacher did.

    Raises:
        ConfigError: the teacher's scores cannot be used, or it leaves no row to train on.
    """
    teacher = recipe.teacher
    if teacher is None:
        return rows, used, None
    path = out / SCORES.replace("*", _key(teacher, fingerprint, len(rows)))
    scores = score_table(rows, lambda: load_teacher(teacher, device=device), path)
    found = _used(recipe, teacher, rows, scores, seed)
    if not len(found.rows):
        raise ConfigError(
            f"{used.location}: the teacher {teacher.model!r} leaves no row of {used.config!r} to train on. It left out"
            f" {found.negatives_left_out:,} negatives, and each of {found.rows_left_out:,} rows has fewer than"
            f" {max(1, least_negatives(recipe))} left. A larger `teacher.share` leaves more."
        )
    if is_first():
        _tell(found, teacher)
    told = Teaching(
        rows_left_out=found.rows_left_out,
        negatives_left_out=found.negatives_left_out,
        passages=found.passages,
        effective_passages=found.effective_passages,
    )
    return found.rows, replace_rows(used, len(found.rows), used.skipped), told


def _used(recipe: Recipe, teacher: TeacherSettings, rows: Any, scores: Any, seed: int) -> Taught:
    if isinstance(teacher, DistillationTeacher):
        return with_scores(rows, scores, RowDraw(recipe.loss.negatives, 1, seed), teacher.temperature)
    assert isinstance(teacher, PercPosTeacher)
    return without_near_negatives(rows, scores, teacher.share, least_negatives(recipe))


def _tell(found: Taught, teacher: TeacherSettings) -> None:
    """Warn of what a user would want to know before the run is over."""
    if found.rows_left_out:
        logger.warning(
            "The teacher leaves %d rows with too few negatives: they are left out, and %d are trained on.",
            found.rows_left_out,
            len(found.rows),
        )
    if found.rows_without_negatives:
        logger.warning(
            "The teacher leaves %d of %d rows without hard negatives: these are trained against their batch alone."
            " A larger `teacher.share` leaves more.",
            found.rows_without_negatives,
            len(found.rows),
        )
    effective = found.effective_passages
    if effective is not None and found.passages is not None and effective > SAME * found.passages > SAME:
        logger.warning(
            "The teacher's distribution speaks of %.2f of a row's %.1f passages at `teacher.temperature: %g`: to it"
            " they are all the same, and there is nothing to learn. A lower temperature makes it harder, unless the"
            " teacher gives each passage one score.",
            effective,
            found.passages,
            getattr(teacher, "temperature", 1.0),
        )
    if isinstance(teacher, DistillationTeacher) and effective is not None and effective < HARD:
        logger.warning(
            "The teacher's distribution speaks of %.2f of a row's %.1f passages at `teacher.temperature: %g`: it says"
            " no more than a label does. A higher temperature makes it softer.",
            effective,
            found.passages,
            teacher.temperature,
        )


def _key(teacher: TeacherSettings, fingerprint: str, rows: int) -> str:
    """What changes when the scores would."""
    who = [teacher.model, teacher.revision, teacher.kind, teacher.activation]
    if teacher.use == "perc-pos":  # whose teacher is asked for probabilities
        who.append(teacher.use)
    return hashlib.sha256(json.dumps([*who, fingerprint, rows]).encode()).hexdigest()[:16]

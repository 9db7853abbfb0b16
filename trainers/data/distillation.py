"""Rows for the baselines that need a teacher: filtered by its scores, or with its scores to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hf_relabel.builders.configs.release import row_of
from hf_relabel.builders.rows import Passage, Row, arrow_schema
from hf_relabel.trainers.data.baselines import BiEncoderScorer, Scorer, normalised, perc_pos, teacher_scores
from hf_relabel.trainers.data.row_tables import table_of
from hf_relabel.trainers.data.rows import RowDraw, TrainingPassage
from hf_relabel.trainers.recipes.recipe import TeacherSettings


def load_teacher(settings: TeacherSettings, *, device: str | None = None) -> Scorer:
    """The teacher of a recipe.

    Raises:
        ConfigError: it cannot be loaded.
    """
    from hf_relabel.builders.errors import ConfigError
    from hf_relabel.builders.judges.offline.model_folder import model_folder

    try:
        if settings.kind == "bi-encoder":
            return BiEncoderScorer(settings.model, device=device)
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(
            str(model_folder(settings.model) or settings.model), revision=settings.revision, device=device
        )
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"The teacher {settings.model!r} cannot be loaded: {reason}") from error
    return QuietScorer(model)


class QuietScorer:
    """A `CrossEncoder` as a `Scorer`, without a progress bar for each call."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, pairs: Any) -> Any:
        return self._model.predict(list(pairs), show_progress_bar=False, convert_to_numpy=True)


def perc_pos_rows(dataset: Any, teacher: Scorer, share: float) -> Any:
    """The rows without the negatives that score too close to the positive, see `baselines.perc_pos`."""

    def rows() -> Iterator[dict[str, Any]]:
        for scored in teacher_scores(map(row_of, dataset), teacher):
            yield perc_pos(scored, share=share).to_dict()

    return table_of(rows, arrow_schema())


def distillation_rows(dataset: Any, teacher: Scorer, draw: RowDraw) -> Any:
    """One row per positive as (query, positive, negative_1 … negative_n, label): what DistillKLDivLoss takes.

    `label` are the teacher's scores of positive and negatives, moved and stretched to [0, 1] (the paper's
    "normalised").

    Args:
        draw: its number of negatives is that of every row; rows with fewer must have been left out.
    """
    import pyarrow as pa

    count = draw.negatives or 0
    names = ["positive", *(f"negative_{number + 1}" for number in range(count))]

    def rows() -> Iterator[dict[str, Any]]:
        for scored in teacher_scores(_drawn(dataset, draw), teacher):
            normal = normalised(scored)
            texts = [passage.text for passage in scored.row.negative_passages]
            for positive, score in zip(scored.row.positive_passages, normal.positives, strict=True):
                passages = dict(zip(names, [positive.text, *texts], strict=True))
                yield {"query": scored.row.query, **passages, "label": [score, *normal.negatives]}

    fields = [("query", pa.string()), *((name, pa.string()) for name in names), ("label", pa.list_(pa.float32()))]
    return table_of(rows, pa.schema(fields))


def _drawn(dataset: Any, draw: RowDraw) -> Iterator[Row]:
    """What the student will see of each row, and nothing else: the teacher is the costly part."""

    def passages(drawn: tuple[TrainingPassage, ...]) -> tuple[Passage, ...]:
        return tuple(Passage(passage.docid, "", passage.text) for passage in drawn)

    for record in dataset:
        drawn = draw(record)
        yield Row(record["query_id"], drawn.query, passages(drawn.positives), passages(drawn.negatives), drawn.subset)

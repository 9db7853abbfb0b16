"""The student: a cheap offline judge trained on audited labels or on another judge's verdicts.

A student is a folder with `student.json` (what it is, its coefficients and thresholds) and, for the head `setfit`, the
encoder in `body/`. There is nothing in it that runs code when it is read. Two heads:

- `scores`: a logistic model over closeness in a bi-encoder's space, shared words and the candidate's place in its row.
  For few labels.
- `setfit`: an encoder fine-tuned by SetFit (arXiv 2209.11055) on texts of query, ground truth and candidate, with a
  logistic model over its vectors.

The score is the calibrated probability that the candidate is a false negative. The student's own thresholds lie on what
its logistic model gives, before calibration: calibrated, candidates that it can tell apart may have equal scores, and
more would be called better than was backed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hf_relabel.builders.cascade.calibration import Calibration
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import ANSWERS_BY, Judgement, Label
from hf_relabel.builders.judges.offline.local_model import folder_digest
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.offline.student_features import row_features, text_of
from hf_relabel.builders.judges.protocols import JSON
from hf_relabel.builders.judges.settings import check_number, check_text, check_thresholds
from hf_relabel.builders.messages.problems import first_line
from hf_relabel.builders.messages.program import program
from hf_relabel.builders.rows import Row
from hf_relabel.builders.sources.subsets import subset_set

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

STUDENT_NAME = "student.json"
BODY_NAME = "body"
SCORE_DIGITS = 6
RAW_DIGITS = 9
Head = Literal["scores", "setfit"]


class StudentSettings(BaseModel):
    """The content of student.json.

    Attributes:
        encoder: a folder, a Hub id or `package:NAME`; "body" for the one in the student's own folder.
        mean, scale, weights, bias: of the logistic model over standardised inputs.
        trained: what it was trained on, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    head: Head
    encoder: str
    revision: str | None = None
    features: tuple[str, ...] = ()
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    calibration: Calibration
    trained: dict[str, Any] = Field(default_factory=dict)


class StudentJudge:
    """Judges as it was trained to. Needs sentence-transformers.

    Example:
            judge("train.jsonl", StudentJudge("student"), "journal.sqlite")

    Args:
        model: the student's folder.
        better, worse: scores from which a candidate is labelled so; the student's own thresholds when not given. A
            student that could not back its `better` at training calls nothing better.
        batch_rows: rows the judge likes to get at once.
        device: torch device, None for the library's choice.
        exempt_subsets: subsets that are not judged.

    Raises:
        ConfigError: a setting is out of its range or, on first use, the folder holds no student.
    """

    kind = "student"

    def __init__(
        self,
        model: str,
        *,
        better: float | None = None,
        worse: float | None = None,
        batch_rows: int = 256,
        device: str | None = None,
        exempt_subsets: Iterable[str] = ("arguana",),
    ) -> None:
        check_text("model", model)
        check_thresholds(1 if better is None else better, 0 if worse is None else worse)
        check_number("batch_rows", batch_rows, 1, 100_000, whole=True)
        self._given = better, worse
        self.folder, self.batch_rows, self.device = Path(model), batch_rows, device
        self.exempt_subsets = subset_set("exempt_subsets", exempt_subsets)

    def settings(self) -> dict[str, JSON]:
        calibration = self._student.calibration
        own = (calibration.zones.sure, calibration.zones.unsure)
        shown = (None if raw is None else round(calibration.probability(raw), SCORE_DIGITS) for raw in own)
        better, worse = (mine if given is None else given for given, mine in zip(self._given, shown, strict=True))
        settings = {"head": self._student.head, "labels": "by raw score/1", "better": better, "worse": worse}
        # Its features tell how a candidate stands among all of its row.
        return settings | ({ANSWERS_BY: "row"} if self._student.head == "scores" else {})

    def model(self) -> tuple[str, str | None]:
        """(name of the folder, digest of the student and of the encoder it uses)."""
        own = folder_digest(self.folder)
        encoder = "" if self._student.encoder == BODY_NAME else f"-{self._encoder.model()[1] or ''}"
        return self.folder.resolve().name, own + encoder

    def judge(self, batch: Sequence[tuple[Row, Sequence[int]]]) -> list[dict[int, Judgement]]:
        """One dict per batch item."""
        student, found = self._student, []
        rows = [row for row, _ in batch]
        for (_, positions), inputs in zip(batch, inputs_of(rows, student.head, self._encoder), strict=True):
            said = [self._judged(raw, score) for raw, score in self._scores(inputs)]
            found.append({position: said[position] for position in positions})
        return found

    def _scores(self, inputs: Values) -> Iterator[tuple[float, float]]:
        """Of each candidate what the logistic model gives, and that calibrated. Rounded, because the last bits of an
        encoding depend on what else is in its batch."""
        import numpy as np

        student = self._student
        if not len(inputs):
            return
        standard = (inputs - np.array(student.mean)) / np.array(student.scale)
        raw = (1 / (1 + np.exp(-(standard @ np.array(student.weights) + student.bias)))).round(RAW_DIGITS)
        yield from zip(raw.tolist(), student.calibration.probabilities(raw).round(SCORE_DIGITS).tolist(), strict=True)

    def _judged(self, raw: float, score: float) -> Judgement:
        zones, (better, worse) = self._student.calibration.zones, self._given
        sure = zones.zone(raw) == "sure" if better is None else score >= better
        doubtful = zones.zone(raw) != "clear" if worse is None else score >= worse
        return Judgement(Label.BETTER if sure else Label.WORSE if doubtful else Label.IRRELEVANT, score=score)

    @cached_property
    def _student(self) -> StudentSettings:
        path = self.folder / STUDENT_NAME
        try:
            return StudentSettings.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError:
            raise ConfigError(f"{self.folder} holds no student. `{program()} student` trains one.") from None
        except ValidationError as error:
            raise ConfigError(f"{path} is no student of this version: {first_line(error)}") from None

    @cached_property
    def _encoder(self) -> SimilarityJudge:
        student = self._student
        encoder = str(self.folder / BODY_NAME) if student.encoder == BODY_NAME else student.encoder
        return SimilarityJudge(encoder, revision=student.revision, device=self.device)


def inputs_of(rows: Sequence[Row], head: Head, encoder: SimilarityJudge) -> list[Values]:
    """What the logistic model of a student reads: for each row an array (negatives × inputs)."""
    import numpy as np

    if head == "setfit":
        texts = [[pair_text(row, position) for position in range(len(row.negative_passages))] for row in rows]
        vectors = encoder.vectors([text for row in texts for text in row], "document")
        return [np.array([vectors[text] for text in row], dtype=np.float64) for row in texts]
    queries = encoder.vectors([row.query for row in rows], "query")
    passages = [passage for row in rows for passage in (*row.positive_passages, *row.negative_passages)]
    vectors = encoder.vectors([text_of(passage) for passage in passages], "document")
    found = []
    for row in rows:
        query = np.asarray(queries[row.query], dtype=np.float64)
        sides = [
            np.array([vectors[text_of(passage)] for passage in side], dtype=np.float64).reshape(len(side), len(query))
            for side in (row.positive_passages, row.negative_passages)
        ]
        found.append(row_features(row, query, *sides) if row.negative_passages else np.zeros((0, 0)))
    return found


def pair_text(row: Row, position: int) -> str:
    """Query, first ground truth and candidate as one text."""
    truth = text_of(row.positive_passages[0]) if row.positive_passages else ""
    return f"{row.query}\n\n{truth[:1000]}\n\n{text_of(row.negative_passages[position])[:2000]}"

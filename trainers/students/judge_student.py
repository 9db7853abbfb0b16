"""Training a student judge. See hf_relabel.builders.judges.offline.student for what it is."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.cascade.fitting import LEAST_LABELS, LabelledScore, fit
from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.similarity import DEFAULT_MODEL, SimilarityJudge
from hf_relabel.builders.judges.offline.student import (
    BODY_NAME,
    RAW_DIGITS,
    STUDENT_NAME,
    Head,
    StudentSettings,
    inputs_of,
    pair_text,
)
from hf_relabel.builders.judges.offline.student_features import FEATURES
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.builders.messages.shown import Shown
from hf_relabel.builders.rows import Row
from hf_relabel.trainers.devices import one_process_only
from hf_relabel.trainers.quiet import quiet_libraries

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hf_relabel.builders.cascade.calibration import Calibration

    Values = npt.NDArray[np.float64]

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Inverse strengths of the penalty that are tried."""
FAVOURED = "similarity"
"""The feature that is known to tell: the penalty bears a hundredth as hard on it, which a few hundred labels need."""
_FAVOUR = 10.0
_BATCH_ROWS = 256
_DIGITS = 8


@dataclass(frozen=True, slots=True)
class StudentExample:
    """One labelled candidate: `position` (0-based) in `row.negative_passages`, and how many it stands for."""

    row: Row
    position: int
    relevant: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True, repr=False)
class StudentReport(Shown):
    """What was trained. AUC and average precision are of rows left out in turn (cross-validation by query).

    Attributes:
        sure_precision, sure_recall: of what it will call better; None where it will call nothing better.
    """

    folder: str
    head: str
    labels: int
    relevant: int
    auc: float
    average_precision: float
    sure_precision: float | None
    sure_recall: float | None
    strength: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        sure = (
            "It calls nothing better: no score holds the wanted precision."
            if self.sure_precision is None
            else f"What it calls better: precision {self.sure_precision:.3f}, recall {self.sure_recall:.3f}."
        )
        return (
            f"Student {self.folder} ({self.head}) from {self.labels} labels, {self.relevant} of them relevant.\n"
            f"On rows left out: AUC {self.auc:.3f}, average precision {self.average_precision:.3f}. {sure}"
        )


@needs("student", "Training a student")
@expects(examples=Iterable, out=PATH)
def train_student(
    examples: Iterable[StudentExample],
    out: str | Path,
    *,
    head: Head = "scores",
    model: str = DEFAULT_MODEL,
    revision: str | None = None,
    precision: float = 0.9,
    seed: int = 0,
    folds: int = 5,
    device: str | None = None,
    steps: int = 400,
) -> StudentReport:
    """Train a student and write its folder.

    Example:
            examples = [StudentExample(numbered.row, verdict.position, verdict.is_false_negative)
                        for numbered, found in verdicts("train.jsonl", "journal.sqlite") for verdict in found]
            train_student(examples, Path("student"))
            judge("train.jsonl", StudentJudge("student"), "cheap.sqlite")

    Args:
        examples: labelled candidates.
        head: see hf_relabel.builders.judges.offline.student. With `setfit` half of the queries fine-tune the encoder,
            and all else is fitted, calibrated and measured on the other half.
        model, revision: the encoder.
        precision: wanted of what the student calls better.
        seed: of the folds, and of SetFit.
        folds: of the cross-validation, by query, that chooses the penalty and gives the scores it is calibrated on.
        steps: of SetFit's fine-tuning.

    Raises:
        ConfigError: fewer than 20 labels (with `setfit` in a half), or labels of one kind or of too few queries only.
        MissingExtra: the extra `student` is not installed.
        BuildError: the folder cannot be written.
    """
    one_process_only("Training a student")
    import numpy as np

    out = Path(out)
    labelled = sorted(examples, key=lambda example: (example.row.query_id, example.position))
    given = {"labels": len(labelled), "relevant": sum(example.relevant for example in labelled)}
    _check(labelled, folds)
    out.mkdir(parents=True, exist_ok=True)
    encoder, name, kept_revision = model, model, revision
    if head == "setfit":
        seen, labelled = _halves(labelled, seed)
        _check(labelled, folds, "for its second half, which SetFit does not see, ")
        # Without it there is no student: an interrupted training leaves no new encoder with an earlier head.
        (out / STUDENT_NAME).unlink(missing_ok=True)
        with quiet_libraries():
            _fine_tune(seen, out / BODY_NAME, model, revision, seed, steps, device)
        encoder, name, kept_revision = str(out / BODY_NAME), BODY_NAME, None
    truth = np.array([example.relevant for example in labelled])
    groups = np.array([example.row.query_id for example in labelled])
    weights = np.array([example.weight for example in labelled], dtype=np.float64)
    judge = SimilarityJudge(encoder, revision=kept_revision, device=device)
    inputs = np.array(list(_inputs(labelled, head, judge)))
    strength, left_out = _chosen(inputs, truth, groups, weights / weights.mean(), folds, seed)
    fitted = _logistic(inputs, truth, weights / weights.mean(), strength)
    settings = StudentSettings(
        head=head,
        encoder=name,
        revision=kept_revision,
        features=FEATURES if head == "scores" else (),
        calibration=_calibrated(left_out, truth, weights, precision),
        trained={**given, "seed": seed, "penalty": strength},
        **fitted,
    )
    with written_whole(out / STUDENT_NAME) as file:
        file.write(settings.model_dump_json(indent=1).encode() + b"\n")
    return _report(out, head, truth, weights, left_out, settings)


def _check(labelled: Sequence[StudentExample], folds: int, needs: str = "") -> None:
    if len(labelled) < LEAST_LABELS:
        raise ConfigError(
            f"A student needs {needs}at least {LEAST_LABELS} labels, there are {len(labelled)}. Audit more."
        )
    kinds = [{example.row.query_id for example in labelled if example.relevant is kind} for kind in (True, False)]
    if not all(kinds):
        raise ConfigError(f"A student needs {needs}labels of both kinds: relevant ones and others.")
    if min(map(len, kinds)) < folds:
        raise ConfigError(f"A student needs {needs}labels of both kinds from at least {folds} queries each.")


def _halves(labelled: Sequence[StudentExample], seed: int) -> tuple[list[StudentExample], list[StudentExample]]:
    """Two halves of the queries, with about as many relevant labels.

    One is to fine-tune an encoder on, the other to fit and to measure the rest on: of labels that the encoder has seen
    it tells nearly all apart, whatever it does with others.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    truth = [example.relevant for example in labelled]
    groups = [example.row.query_id for example in labelled]
    first, second = next(StratifiedGroupKFold(2, shuffle=True, random_state=seed).split(truth, truth, groups))
    return [labelled[index] for index in first], [labelled[index] for index in second]


def _inputs(labelled: Sequence[StudentExample], head: Head, judge: SimilarityJudge) -> Iterator[Values]:
    """The inputs of each example, reading a batch of rows at a time."""
    rows = list({example.row.query_id: example.row for example in labelled}.values())
    by_query: dict[str, list[StudentExample]] = {}
    for example in labelled:
        by_query.setdefault(example.row.query_id, []).append(example)
    for start in range(0, len(rows), _BATCH_ROWS):
        part = rows[start : start + _BATCH_ROWS]
        for row, inputs in zip(part, inputs_of(part, head, judge), strict=True):
            for example in by_query[row.query_id]:
                yield inputs[example.position]


def _logistic(inputs: Values, truth: npt.NDArray[np.bool_], weights: Values, strength: float) -> dict[str, Any]:
    """A logistic model over standardised inputs, as plain numbers."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = inputs.mean(axis=0), inputs.std(axis=0)
    scale[scale < 1e-9] = 1.0
    if inputs.shape[1] == len(FEATURES):
        scale[FEATURES.index(FAVOURED)] /= _FAVOUR
    model = LogisticRegression(C=strength, max_iter=2000).fit((inputs - mean) / scale, truth, sample_weight=weights)

    def plain(values: Values) -> tuple[float, ...]:
        return tuple(round(float(value), _DIGITS) for value in values)

    return {
        "mean": plain(mean),
        "scale": tuple(float(value) for value in scale),
        "weights": plain(model.coef_[0]),
        "bias": round(float(model.intercept_[0]), _DIGITS),
    }


def _chosen(
    inputs: Values, truth: npt.NDArray[np.bool_], groups: npt.NDArray[Any], weights: Values, folds: int, seed: int
) -> tuple[float, Values]:
    """The penalty with the best log loss on queries left out, and the scores they get with it."""
    import numpy as np
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold

    parts = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(inputs, truth, groups))
    best: tuple[float, float, Values] | None = None
    for strength in STRENGTHS:
        scores = np.zeros(len(truth))
        for train, test in parts:
            if truth[train].all() or not truth[train].any():
                raise ConfigError("The labels of one kind come from too few queries to train a student on.")
            model = _logistic(inputs[train], truth[train], weights[train], strength)
            standard = (inputs[test] - np.array(model["mean"])) / np.array(model["scale"])
            scores[test] = 1 / (1 + np.exp(-(standard @ np.array(model["weights"]) + model["bias"])))
        loss = float(log_loss(truth, np.clip(scores, 1e-6, 1 - 1e-6), sample_weight=weights))
        if best is None or loss < best[0]:
            best = loss, strength, scores
    assert best is not None
    return best[1], best[2]


def _calibrated(left_out: Values, truth: npt.NDArray[np.bool_], weights: Values, precision: float) -> Calibration:
    """By Platt's sigmoid: of isotonic regression, candidates that the student can tell apart would get equal scores."""
    scores = [
        LabelledScore(round(float(score), RAW_DIGITS), bool(label), float(weight))
        for score, label, weight in zip(left_out, truth, weights, strict=True)
    ]
    return fit(scores, method="platt", precision=precision)


def _fine_tune(
    labelled: Sequence[StudentExample], out: Path, model: str, revision: str | None, seed: int, steps: int, device: Any
) -> None:
    """Fine-tune the encoder by SetFit's contrastive pairs. Only the encoder is kept."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel, Trainer, TrainingArguments
    from setfit.logging import set_verbosity_warning
    from sklearn.linear_model import LogisticRegression
    from transformers import PrinterCallback, ProgressCallback

    from hf_relabel.builders.judges.offline.model_loading import PACKAGED, load_model

    set_verbosity_warning()

    class Bar(ProgressCallback):  # type: ignore[misc]
        """Does not print losses between, which would go to where results go."""

        def on_log(self, *_: Any, **__: Any) -> None:
            pass

    body = load_model(SentenceTransformer, model, revision=revision, offline=PACKAGED, device=device)
    rows = Dataset.from_dict(
        {
            "text": [pair_text(example.row, example.position) for example in labelled],
            "label": [int(example.relevant) for example in labelled],
        }
    )
    with tempfile.TemporaryDirectory() as scratch:  # SetFit makes a folder though it saves nothing there
        arguments = TrainingArguments(
            output_dir=scratch,
            batch_size=16,
            max_steps=steps,
            seed=seed,
            show_progress_bar=False,
            save_strategy="no",
            report_to="none",
        )
        trainer = Trainer(
            SetFitModel(model_body=body, model_head=LogisticRegression()),
            args=arguments,
            train_dataset=rows,
            metric=lambda predicted, known: {"accuracy": sum(predicted == known) / len(known)},
        )
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        if sys.stderr.isatty():
            trainer.add_callback(Bar())
        trainer.st_trainer.args.dataloader_pin_memory = False
        trainer.train_embeddings(*trainer.dataset_to_parameters(rows), args=arguments)
    body.save(str(out), create_model_card=False)


def _report(
    out: Path,
    head: str,
    truth: npt.NDArray[np.bool_],
    weights: Values,
    left_out: Values,
    settings: StudentSettings,
) -> StudentReport:
    from sklearn.metrics import average_precision_score, roc_auc_score

    zones = settings.calibration.zones
    return StudentReport(
        folder=str(out),
        head=head,
        labels=settings.trained["labels"],
        relevant=settings.trained["relevant"],
        auc=round(float(roc_auc_score(truth, left_out, sample_weight=weights)), 4),
        average_precision=round(float(average_precision_score(truth, left_out, sample_weight=weights)), 4),
        sure_precision=None if zones.precision is None else zones.precision.value,
        sure_recall=None if zones.recall is None else zones.recall.value,
        strength=settings.trained["penalty"],
    )

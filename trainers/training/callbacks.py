"""Callbacks for any trainer of sentence-transformers, ours or a plain one: evaluate and keep the best, write the card,
release on the Hub."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hf_relabel.builders.disk.atomic_file import write_whole
from hf_relabel.builders.disk.atomic_folder import new_folder
from hf_relabel.builders.errors import ReleaseError
from hf_relabel.builders.messages.program import program
from hf_relabel.cards.model_card import model_figures, render_model_card
from hf_relabel.cards.model_facts import ModelFacts
from hf_relabel.cards.training_report import DataUsed, ModelUsed, TrainingReport
from hf_relabel.trainers.evaluation.evaluator import RetrievalEvaluator
from hf_relabel.trainers.evaluation.per_query import write_per_query
from hf_relabel.trainers.loading import CLASSES
from hf_relabel.trainers.training.facts import base_revision, curve_of, facts_of
from hf_relabel.trainers.training.machine import hardware, versions
from hf_relabel.trainers.training.publishing import README_NAME, publish

logger = logging.getLogger(__name__)

_ARGUMENTS = ("learning_rate", "per_device_train_batch_size", "num_train_epochs", "max_steps", "warmup_steps", "bf16")


class StepsCallback(TrainerCallback):  # type: ignore[misc]
    """Tells how far a training is.

    Args:
        tell: called with the steps done and all steps, before the first and after each.
    """

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self.tell = tell

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.tell(state.global_step, state.max_steps)

    on_step_end = on_train_begin


class EvaluationCallback(TrainerCallback):  # type: ignore[misc]
    """Evaluates as it goes, and keeps the best model in a folder.

    Args:
        evaluator: what to measure; its first metric says which model is best. Take other sets than those that are
            reported (`CardCallback`): figures of the sets that chose the model are too good.
        every: steps between evaluations; None for the end of each epoch.
        best: folder for the best model so far; None keeps none.
    """

    def __init__(self, evaluator: RetrievalEvaluator, *, every: int | None = None, best: str | Path | None = None):
        self.evaluator, self.every = evaluator, every
        self.best = None if best is None else Path(best)
        self.best_value, self.best_step = float("-inf"), 0

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.every is not None and state.global_step % self.every == 0:
            self._evaluate(state, given["model"])

    def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if self.every is None:
            self._evaluate(state, given["model"])

    def _evaluate(self, state: Any, model: Any) -> None:
        was_training = model.training
        model.eval()
        values = self.evaluator(model, epoch=state.epoch or 0, steps=state.global_step)
        model.train(was_training)
        logged = {f"eval_{name}": value for name, value in values.items()}
        state.log_history.append({**logged, "epoch": state.epoch, "step": state.global_step})
        value = values[self.evaluator.primary_metric]
        if value > self.best_value:
            self.best_value, self.best_step = value, state.global_step
            if self.best is not None:
                with new_folder(self.best, is_ours=lambda _: True) as building:
                    model.save_pretrained(str(building.path), create_model_card=False)
                    building.keep_others(ours=())


class CardCallback(TrainerCallback):  # type: ignore[misc]
    """Saves the model with its report and card when training ends.

    Args:
        data: what it was trained on, see `training_data.open_training_data(...).used`.
        base: the model that training started from.
        folder: where to; None takes the trainer's `output_dir/release`.
        evaluator: its sets are measured once more at the end.
        repo_id: for the card.
    """

    def __init__(
        self,
        data: DataUsed,
        base: str,
        *,
        folder: str | Path | None = None,
        evaluator: RetrievalEvaluator | None = None,
        repo_id: str = "user/model",
        license: str | None = None,
    ) -> None:
        self.data, self.base, self.evaluator = data, base, evaluator
        self.folder = None if folder is None else Path(folder)
        self.repo_id, self.license = repo_id, license
        self._since = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._since = time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        folder = self.folder or Path(args.output_dir) / "release"
        self.folder = folder
        model = given["model"]
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(str(folder), create_model_card=False)
        report = self._report(args, state, model, folder)
        report.write(folder)
        facts = ModelFacts(self.repo_id, None, report, license=self.license)
        readme = folder / README_NAME
        earlier = readme.read_text(encoding="utf-8") if readme.is_file() else None
        write_whole(readme, render_model_card(facts, earlier).encode())
        for name, content in model_figures(report).items():
            (folder / name).parent.mkdir(exist_ok=True)
            write_whole(folder / name, content)

    def _report(self, args: Any, state: Any, model: Any, folder: Path) -> TrainingReport:
        kind = kind_of(model)
        settings = {name: getattr(args, name) for name in _ARGUMENTS}
        if self.evaluator is not None:
            self.evaluator(model)
            write_per_query(folder, self.evaluator.evaluations)
        return TrainingReport(
            kind=kind,
            recipe={"name": "own", "kind": kind, "model": self.base, **settings, **_prompts(model)},
            base=ModelUsed(name=self.base, revision=base_revision(model)),
            data=self.data,
            seed=args.seed,
            steps=state.global_step,
            epochs=state.epoch,
            seconds=time.monotonic() - self._since,
            hardware=hardware(model),
            curve=curve_of(state.log_history),
            evaluations=() if self.evaluator is None else self.evaluator.latest,
            versions=versions(),
            **facts_of(model, kind),
        )


class ReleaseCallback(CardCallback):
    """Releases the model on the Hub when training ends: one commit with its card, and a tag.

    Training is never lost to the Hub: where the release fails, the model is saved, a warning says how to go on
    (`hf relabel push-model FOLDER REPO`), and what was sent is not sent again.

    Attributes:
        report: of the push; None where it failed.
    """

    def __init__(self, repo_id: str, data: DataUsed, base: str, *, push: dict[str, Any] | None = None, **settings: Any):
        super().__init__(data, base, repo_id=repo_id, **settings)
        self.push_options = push or {}
        self.report: Any = None

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        super().on_train_end(args, state, control, **given)
        if not state.is_world_process_zero or self.folder is None:
            return
        try:
            self.report = publish(self.folder, self.repo_id, license=self.license, **self.push_options)
        except ReleaseError as error:
            logger.warning(
                "The model was not released: %s It is saved. Go on with: %s push-model %s %s",
                error,
                program(),
                self.folder,
                self.repo_id,
            )


def kind_of(model: Any) -> str:
    """The kind of a model, a key of `loading.CLASSES`."""
    name = type(model).__name__
    found = next((kind for kind, known in CLASSES.items() if known == name), "bi-encoder")
    is_static = found == "bi-encoder" and type(model[0]).__name__ == "StaticEmbedding"
    return "static" if is_static else found


def _prompts(model: Any) -> dict[str, str]:
    prompts = getattr(model, "prompts", None) or {}
    names: Sequence[tuple[str, str]] = (("query", "query_prompt"), ("document", "passage_prompt"))
    return {field: prompts[name] for name, field in names if prompts.get(name)}

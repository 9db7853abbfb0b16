"""A training run from a recipe and rows to a saved model and a report of what happened.

A run's folder holds the model, `training.json`, `recipe.yaml` and, until it is over, its checkpoints. The same call
again goes on from the last checkpoint and ends as an undisturbed run does; when the run is over, it gives the report.
Of several devices, see `devices`, the first looks into the folder, writes and says what is wrong; all get the report.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, set_seed

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.builders.messages.extras import needs
from hf_relabel.cards.training_report import (
    DataUsed,
    Hardware,
    Measured,
    Teaching,
    TrainingReport,
    read_training_report,
)
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.devices import all_devices
from hf_relabel.trainers.evaluation.evaluator import METRICS, RetrievalEvaluator
from hf_relabel.trainers.evaluation.leaks import Shared, shared_queries, warn_of
from hf_relabel.trainers.evaluation.per_query import write_per_query
from hf_relabel.trainers.evaluation.sets import RetrievalSet
from hf_relabel.trainers.guide import Guide
from hf_relabel.trainers.models import build_model, merge_adapters, set_inference_length
from hf_relabel.trainers.quiet import quiet_libraries
from hf_relabel.trainers.recipes.authors import authors_batch
from hf_relabel.trainers.recipes.recipe import Recipe, TransformerRecipe
from hf_relabel.trainers.recipes.recipe_kinds import LAST_SEED
from hf_relabel.trainers.training.arguments import best_by, check_precision, trainer_arguments
from hf_relabel.trainers.training.clock import Clock, Watch
from hf_relabel.trainers.training.disk import disk_told
from hf_relabel.trainers.training.facts import curve_of, facts_of, guide_facts, model_used, technique_of, usable
from hf_relabel.trainers.training.kinds import guide_of, make_trainer
from hf_relabel.trainers.training.machine import hardware, versions
from hf_relabel.trainers.training.options import TrainOptions
from hf_relabel.trainers.training.run_folder import RunFolder
from hf_relabel.trainers.training.self_preference import warn_of_family
from hf_relabel.trainers.training.sieving import sieved
from hf_relabel.trainers.training.teaching import taught


@needs("train", "Training")
@expects(recipe="Recipe", data="TrainingData", out=PATH)
def train(
    recipe: Recipe,
    data: TrainingData,
    out: str | Path,
    *,
    sets: Sequence[RetrievalSet] = (),
    metrics: Sequence[str] | None = None,
    seed: int | None = None,
    device: str | None = None,
    evaluate_every: int | None = None,
    dev: Sequence[RetrievalSet] = (),
    log_to: Sequence[str] = (),
    merge_adapters: bool = False,
    overwrite: bool = False,
    progress: bool | None = None,
    evaluate_untrained: bool = True,
    checkpoints: bool = True,
    callbacks: Sequence[TrainerCallback] = (),
    teacher_scores: str | Path | None = None,
) -> TrainingReport:
    """Train a model.

    Example:
            recipe, data = load_recipe("e5-base"), open_training_data("user/train-relabeled@v1.0.0", "relabel")
            report = train(recipe, data, "model", sets=[read_beir("beir/fiqa")])

    A script with this in it trains on several GPUs when it is started by torchrun or `accelerate launch`; each process
    has one, `batch_size` is for each, and all get the report.

    Args:
        out: the run's folder. What another run left there is refused.
        sets: evaluated on before and after training, and during it where there is no `dev`.
        dev: other sets, evaluated on during training: the weights of the step that is best on them by the first metric
            are kept. Without any, those of the last step: a step chosen on the sets that are reported would make their
            figures too good.
        metrics: of the evaluation.
        seed: in place of the recipe's; None for that.
        device: torch device such as `cpu`; None for the library's choice.
        evaluate_every: steps between two evaluations, each with a checkpoint; None for a tenth of the run.
        log_to: `tensorboard`, `trackio`, `wandb`.
        merge_adapters: save a model with LoRA as one that needs no peft.
        overwrite: delete what an earlier run left in `out`.
        progress: a progress bar; None shows one on a terminal.
        evaluate_untrained: measure the untrained model too.
        checkpoints: write them; a run without any starts over when it was stopped.
        callbacks: more of transformers' callbacks.
        teacher_scores: a folder that keeps the scores of the recipe's teacher for other runs on the same rows; None
            keeps them in `out` until the run is over.

    Raises:
        ConfigError: the recipe does not fit the data or the model, `out` holds another run, or another process trains
            there.
        TrainingError: the loss became no number.
    """
    chosen = TrainOptions(
        device=device,
        evaluate_every=evaluate_every,
        dev=tuple(dev),
        log_to=log_to,
        merge_adapters=merge_adapters,
        overwrite=overwrite,
        progress=progress,
        evaluate_untrained=evaluate_untrained,
        checkpoints=checkpoints,
        callbacks=callbacks,
        teacher_scores=None if teacher_scores is None else Path(teacher_scores),
    )
    chosen.check()
    check_precision(recipe, device)
    _check_seed(seed)
    run = _Run(Path(out), recipe, data, recipe.seed if seed is None else seed, tuple(sets), metrics, chosen)
    with quiet_libraries(), run.folder.alone():
        return run.devices.alike(run.start)


def _check_seed(seed: int | None) -> None:
    if seed is not None and not 0 <= seed <= LAST_SEED:
        raise ConfigError(f"A seed is a number from 0 to {LAST_SEED:,}, not {seed}.")


class _Run:
    """One training run in one folder."""

    def __init__(
        self,
        out: Path,
        recipe: Recipe,
        data: TrainingData,
        seed: int,
        sets: tuple[RetrievalSet, ...],
        metrics: Sequence[str] | None,
        options: TrainOptions,
    ) -> None:
        self.out, self.recipe, self.data, self.seed = out, recipe, data, seed
        self.sets, self.options = sets, options
        self.devices = all_devices(options.device)
        self.folder = RunFolder(out, self.devices)
        self.metrics = tuple(metrics) if metrics else None
        self.state: dict[str, Any] = {}
        self.teaching: Teaching | None = None
        self.guide: Guide | None = None

    def start(self) -> TrainingReport:
        begun = self.devices.by_first(self._begin)
        if isinstance(begun, TrainingReport):
            return begun
        self.state, shared, checkpoint = begun
        self.data, self.teaching = sieved(
            self.recipe, self.data, train, out=self.out, seed=self.seed, options=self.options
        )
        set_seed(self.seed)
        model = self.devices.in_turn(lambda: build_model(self.recipe, device=self.options.device))
        used, trainer = self._trainer(model)
        before = self._before(model)
        self.state["resumed"] += checkpoint is not None
        self.folder.keep(self.state)
        trained = _fit(trainer, checkpoint)
        self._finish(model)
        after, machine = self._evaluate(model, keep=True), hardware(model, self.devices)
        return self.devices.by_first(
            lambda: self.folder.ended(self._report(model, used, trained, before, after, shared, machine))
        )

    def _begin(self) -> TrainingReport | tuple[dict[str, Any], Shared, str | None]:
        """Look at the folder and the sets: the report of a run that is over; otherwise the state it was left in, the
        queries that are trained on, and the checkpoint to go on from."""
        self._check_dev()
        state = self.folder.state(self._settings(), self.recipe, overwrite=self.options.overwrite)
        if self.folder.is_over:
            return read_training_report(self.out)
        shared = self._trained_queries()
        warn_of_family(self.recipe.model, self.data.judges)
        return state, shared, self.folder.last_checkpoint()

    def _check_dev(self) -> None:
        """Tell of queries of the sets by which the step is chosen.

        Raises:
            ConfigError: all queries of a set are.
        """
        dev = self.options.dev
        chosen = shared_queries((query for data in dev for query in data.queries.values()), self.sets)
        for data in self.sets:
            if len(chosen.get(data.about.name, ())) == len(data.queries):
                raise ConfigError(
                    f"{data.about.name} has the queries of a dev set: a step chosen on the set that is reported would"
                    " make its figures too good. Take another set for one of them."
                )
        warn_of(chosen, self.sets, "The step is chosen on them too.", where="the dev sets")

    def _trained_queries(self) -> Shared:
        """The queries of the sets that are trained on too, which is told; of the dev sets, that alone."""
        consequence = (
            "What is measured there says little of other queries: take a set whose queries the rows do not have."
        )
        shared: Shared = {}
        for sets in (self.options.dev, self.sets):
            shared = shared_queries(self.data.rows["query"] if sets else (), sets)
            warn_of(shared, sets, consequence)
        return shared

    def _settings(self) -> dict[str, Any]:
        """What makes this run this run and no other."""
        values = {
            "recipe": self.recipe.model_dump(mode="json"),
            "data": {**self.data.used.model_dump(mode="json", exclude={"location"}), "rows": self.data.fingerprint},
            "seed": self.seed,
            "sets": [data.about.model_dump(mode="json") for data in self.sets],
            "evaluate_every": self.options.evaluate_every,
            "dev": [data.about.model_dump(mode="json") for data in self.options.dev],
            "merge_adapters": self.options.merge_adapters,
            "metrics": self.metrics,
        }
        settings: dict[str, Any] = json.loads(json.dumps(values))
        return settings

    def _trainer(self, model: Any) -> tuple[DataUsed, Any]:
        rows, used = usable(self.recipe, self.data)
        rows, used, told = taught(
            self.recipe,
            rows,
            used,
            fingerprint=self.data.fingerprint,
            seed=self.seed,
            device=self.options.device,
            out=self.options.teacher_scores or self.out,
        )
        self.teaching = told or self.teaching
        evaluator = self._evaluator(self.options.dev or self.sets)
        arguments = trainer_arguments(self.recipe, self.options, self.out, self.seed, len(rows), self.devices.count)
        if evaluator is not None:
            arguments["eval_strategy"] = "steps"
        if self.options.dev:
            arguments |= best_by(evaluator.metrics[0])
        callbacks = [Clock(self.state, lambda: self.folder.keep(self.state)), Watch(), *self.options.callbacks]
        trainer = make_trainer(self.recipe, model, rows, arguments, evaluator, callbacks)
        self.guide = guide_of(trainer)
        return used, trainer

    def _evaluator(self, sets: Sequence[RetrievalSet]) -> Any:
        return RetrievalEvaluator(sets, metrics=self.metrics or METRICS) if sets else None

    def _before(self, model: Any) -> tuple[Measured, ...]:
        """The untrained model's figures; of a run that is resumed, those that it was started with."""
        if not self.sets or not self.options.evaluate_untrained:
            return ()
        if "before" not in self.state:
            self.state["before"] = [each.model_dump(mode="json") for each in self._evaluate(model)]
            self.folder.keep(self.state)
        return tuple(Measured.model_validate(each) for each in self.state["before"])

    def _evaluate(self, model: Any, *, keep: bool = False) -> tuple[Measured, ...]:
        """The means on the sets.

        Args:
            keep: the values of each query too, in the folder of the run.
        """
        from sentence_transformers.util.distributed import distributed_evaluation

        evaluator = self._evaluator(self.sets)
        if evaluator is None:
            return ()
        with distributed_evaluation(model) as decides:  # all devices encode for the first
            if decides:
                evaluator(model)
                if keep:
                    write_per_query(self.out, evaluator.evaluations)
        return self.devices.by_first(lambda: tuple(evaluator.latest))

    def _finish(self, model: Any) -> None:
        set_inference_length(model, self.recipe)
        if self.options.merge_adapters and isinstance(self.recipe, TransformerRecipe) and self.recipe.lora:
            merge_adapters(model)
        # Where the report says that the run is over, the model outlasts a power cut.
        self.devices.by_first(lambda: self.folder.save(model, sync=self.options.checkpoints))

    def _report(
        self,
        model: Any,
        used: DataUsed,
        state: Any,
        before: tuple[Measured, ...],
        after: tuple[Measured, ...],
        shared: Shared,
        machine: Hardware,
    ) -> TrainingReport:
        recipe, teacher = self.recipe, self.recipe.teacher
        best = state.best_model_checkpoint
        return TrainingReport(
            kind=recipe.kind,
            recipe=recipe.model_dump(mode="json"),
            base=model_used(recipe.model, recipe.revision),
            data=used,
            seed=self.seed,
            steps=state.global_step,
            epochs=state.epoch,
            best_step=int(Path(best).name.rpartition("-")[2]) if best else None,
            seconds=self.state["seconds"],
            resumed=self.state["resumed"],
            hardware=machine,
            devices=self.devices.count,
            authors=authors_batch(recipe),
            curve=curve_of(state.log_history),
            before=before,
            evaluations=after,
            dev=tuple(data.about for data in self.options.dev),
            trained_queries={name: len(keys) for name, keys in shared.items()},
            technique=technique_of(recipe),
            teacher=None if teacher is None else model_used(teacher.model, teacher.revision),
            teaching=self.teaching,
            **guide_facts(recipe, self.guide),
            **facts_of(model, recipe.kind),
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            versions=versions(),
        )


def _fit(trainer: Any, checkpoint: str | None) -> Any:
    with warnings.catch_warnings():
        # accelerate hands on what sentence-transformers sets by its older name; torch's newer one is not public.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"torch\.distributed\.nn\.functional\.all_gather", FutureWarning)
        with disk_told(Path(trainer.args.output_dir)):
            trainer.train(resume_from_checkpoint=checkpoint)
    # From here on what is measured is what is saved: without the 16 bits of training, in which scores are tied.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return trainer.state

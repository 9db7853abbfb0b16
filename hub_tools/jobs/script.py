"""The uv script that a Job starts with."""

from __future__ import annotations

from collections.abc import Iterable

SCRIPT_NAME, PACKAGE_NAME = "run.py", "package.zip"

_BODY = '''
"""Runs one job of hf-relabel with the package that lies beside this script. `uv run run.py` installs what it needs."""

import os
import sys
import tempfile
import zipfile
from pathlib import Path

here = Path(__file__).resolve().parent
package = tempfile.mkdtemp(prefix="hf-relabel-")
with zipfile.ZipFile(here / "package.zip") as archive:
    archive.extractall(package)
sys.path.insert(0, package)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))

from hf_relabel.hub_tools.jobs.in_job import main  # noqa: E402

sys.exit(main(here))
'''


def script_text(requirements: Iterable[str], python: str) -> str:
    """The script, with what it needs in the inline metadata that uv reads.

    Args:
        requirements: `name==version`, one line each.
        python: the version it runs on, `3.12`.
    """
    lines = ["# /// script", f'# requires-python = "=={python}.*"', "# dependencies = ["]
    lines += [f'#     "{_quoted(line)}",' for line in requirements]
    lines += ["# ]", "# ///"]
    return "\n".join(lines) + "\n" + _BODY.lstrip("\n")


def _quoted(line: str) -> str:
    return line.replace("\\", "\\\\").replace('"', '\\"')

"""The package as users import and install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hf_relabel

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_can_be_imported() -> None:
    assert sorted(hf_relabel.__all__) == sorted(hf_relabel._HOMES)
    for name in hf_relabel.__all__:
        assert getattr(hf_relabel, name).__doc__, f"{name} has no docstring"


def test_importing_the_package_and_its_help_loads_nothing_heavy() -> None:
    script = (
        "import sys, hf_relabel; from hf_relabel.hub_tools.commands import run; code = run(['--help']);"
        "heavy = {'torch', 'datasets', 'pyarrow', 'pydantic', 'huggingface_hub', 'aiohttp'} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy or code else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_only_the_folders_of_the_layout_stand_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        return
    folders = {line.split("/")[0] for line in tracked.stdout.splitlines() if "/" in line}
    assert {name for name in folders if not name.startswith(".")} == {
        "builders", "cards", "hub_tools", "tests", "trainers",
    }  # fmt: skip

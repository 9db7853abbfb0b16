"""Lets every test import what tests share: `from tests.facade import Facade`."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:  # --import-mode=importlib leaves it alone
    sys.path.append(_ROOT)

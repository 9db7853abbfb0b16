"""Lets every test import what tests share: `from tests.facade import Facade`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parent.parent)
if _ROOT not in sys.path:  # --import-mode=importlib leaves it alone
    sys.path.append(_ROOT)

# There is a worker for each core already: more threads would wait for each other, and do it by spinning.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

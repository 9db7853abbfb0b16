"""`train`, as far as it comes before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import forked

EARLIER = Path(__file__).resolve().parents[2] / "earlier" / "release"
CODE = """
import sys
from hf_relabel.hub_tools.commands import main
try:
    main()
finally:
    print(sorted({"torch", "sentence_transformers"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--recipe", "statc"), "There is no recipe 'statc'. Did you mean 'static'?"),
        (("--eval", "nanobier"), "There is no evaluation set 'nanobier'. Did you mean 'nanobeir'?"),
        (("--config", "remov-hn"), "has no config 'remov-hn'. Did you mean 'remove-hn'?"),
    ],
)
def test_a_misspelt_name_is_told_before_torch_is_loaded(option: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = forked.run(CODE, "train", str(EARLIER), "--out", "model", *option, cwd=tmp_path)
    code = 6 if "--config" in option else 2
    assert (done.returncode, said in done.stderr, done.stdout.strip()) == (code, True, "[]"), done.stderr + done.stdout

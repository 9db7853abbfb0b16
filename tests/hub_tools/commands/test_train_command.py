"""`train`, as far as it comes before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.commands.train_command import recipe_changes
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


def test_set_reaches_settings_at_any_depth() -> None:
    given = ("loss.guide.model=x", "loss.guide.margin=0.1", "loss.negatives=3", "seed=1")
    loss = {"guide": {"model": "x", "margin": 0.1}, "negatives": 3}
    assert recipe_changes(given) == {"loss": loss, "seed": 1}
    with pytest.raises(ConfigError, match="another --set gives `loss` as a whole"):
        recipe_changes(("loss=null", "loss.negatives=3"))

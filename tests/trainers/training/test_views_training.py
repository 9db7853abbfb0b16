"""The snippets of the card train: on the views with the stock trainers, on rows with ours. What runs is the card."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sentence_transformers.sentence_transformer import losses

from hf_relabel.builders.configs.views import ViewKind, views_of
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.data_card import render_card
from tests.trainers.tiny_models import tiny_bert

_MODELS = re.compile(r'"(intfloat|microsoft)/[\w.-]+"')
_QUIET = "max_steps=2, per_device_train_batch_size=2, report_to=[], disable_tqdm=True, use_cpu=True, save_strategy='no'"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a build with all views, a tiny model, and the build's card."""
    folder = tmp_path_factory.mktemp("views")
    judged = []
    for number in range(6):
        negatives = tuple(Passage(f"{number}-{at}", "", f"bad {'abcdef'[number]} {at}") for at in range(4))
        row = Row(f"q{number}", f"query {number}", (Passage(f"p{number}", "", f"good {number}"),), negatives)
        outcomes = [Outcome.FALSE_NEGATIVE, *[Outcome.NEGATIVE] * 3]
        verdicts = [
            Verdict(at, negatives[at].docid, outcome, "judged", (Judgement(Label.WORSE, score=(9 - at) / 10),))
            for at, outcome in enumerate(outcomes)
        ]
        judged.append((NumberedRow(number, row), verdicts))
    views = views_of(list(ViewKind), techniques=list(Technique), default="remove-hn", negatives=2)
    report = write_configs(judged, folder / "built", stage_names=["one"], views=views)
    (folder / "card.md").write_text(render_card(CardFacts(str(folder / "built"), None, report.manifest), None))
    tiny_bert(folder / "tiny")
    return folder


def snippet(place: Path, config: str) -> str:
    """The block of Python in the card that trains on a config."""
    blocks = re.findall(r"^```python\n(.*?)^```", (place / "card.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    [found] = [block for block in blocks if f'"{config}"' in block and ".train()" in block]
    return found


def run(code: str, place: Path) -> None:
    """Run a snippet, with a tiny model for a real one and two steps for all."""
    tiny = _MODELS.sub(lambda _: repr(str(place / "tiny")), code)
    short = tiny.replace('Arguments("model"', f"Arguments({str(place / 'trained')!r}, {_QUIET}")
    assert short.count(_QUIET) == 1
    names: dict[str, object] = {}
    exec(compile(short, "card", "exec"), names)
    steps = names["args"].max_steps  # type: ignore[attr-defined]
    assert steps == 2


@pytest.mark.parametrize("config", ["relabel", *(f"relabel-{kind}" for kind in ViewKind)])
def test_the_card_shows_how_to_train_in_at_most_eight_lines(config: str, place: Path) -> None:
    code = snippet(place, config)

    assert sum(bool(line.strip()) for line in code.splitlines()) <= 8
    run(code, place)


@pytest.mark.parametrize(
    ("view", "shown", "other"),
    [
        ("tuples", "CachedMultipleNegativesRankingLoss", "MultipleNegativesRankingLoss"),
        ("triplets", "GISTEmbedLoss", "CachedGISTEmbedLoss"),
        ("scores", "DistillKLDivLoss", "MarginMSELoss"),
    ],
)
def test_the_other_losses_of_a_view_train_on_it_too(view: str, shown: str, other: str, place: Path) -> None:
    assert hasattr(losses, other)
    run(snippet(place, f"relabel-{view}").replace(shown, other), place)


def test_list_net_trains_on_lists_too(place: Path) -> None:
    run(snippet(place, "relabel-lists").replace("LambdaLoss", "ListNetLoss"), place)


def test_rows_come_first_in_the_card(place: Path) -> None:
    card = (place / "card.md").read_text()

    assert card.index("RowTrainer(model, args, rows, loss=MultiPositiveLoss(model))") < card.index("MultipleNegatives")

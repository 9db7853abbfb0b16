"""Our callbacks in a plain trainer of sentence-transformers."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from hf_relabel.cards.training_report import DataUsed, read_training_report
from hf_relabel.trainers.evaluation.beir import read_beir
from hf_relabel.trainers.evaluation.evaluator import RetrievalEvaluator
from hf_relabel.trainers.training.callbacks import CardCallback, EvaluationCallback
from tests.forked import MODELS
from tests.hub_tools.release_clients import hub_and_client
from tests.trainers.runs import beir_folder
from tests.trainers.tiny_models import tiny_bert
from tests.trainers.training_rows import plain_rows, training_arguments

PAIRS = Dataset.from_list(
    [{"query": row["query"], "positive": row["positive_passages"][0]["text"]} for row in plain_rows(24)]
)
DATA = DataUsed(location="user/data", repo_id="user/data", config="relabel", revision="0" * 40, rows=24)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")


def test_a_plain_trainer_is_evaluated_keeps_its_best_and_gets_a_card(tmp_path: Path) -> None:
    model = SentenceTransformer(tiny_bert(tmp_path / "base"), device="cpu")
    evaluator = RetrievalEvaluator([read_beir(beir_folder(tmp_path))])
    watching = EvaluationCallback(evaluator, every=2, best=tmp_path / "best")
    card = CardCallback(DATA, "tiny", evaluator=evaluator, folder=tmp_path / "card")
    arguments = training_arguments(tmp_path / "out", max_steps=6, per_device_train_batch_size=8, learning_rate=1e-3)
    SentenceTransformerTrainer(
        model, arguments, PAIRS, loss=MultipleNegativesRankingLoss(model), callbacks=[watching, card]
    ).train()
    report = read_training_report(tmp_path / "card")
    measured = {point.step: point.metrics["ndcg@10"] for point in report.curve if point.metrics}
    assert list(measured) == [2, 4, 6]
    assert watching.best_value == max(measured.values())
    best = evaluator(SentenceTransformer(str(tmp_path / "best"), device="cpu"))
    assert best["ndcg@10"] == pytest.approx(watching.best_value)
    assert report.evaluations[0].metrics["ndcg@10"] == pytest.approx(measured[6])
    assert "user/data" in (tmp_path / "card" / "README.md").read_text(encoding="utf-8")


class _HalfSaved:
    """A model whose saving breaks off between two files, the second time."""

    training, saved = False, 0

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def save_pretrained(self, folder: str, **_: Any) -> None:
        self.saved += 1
        Path(folder, "model-1").write_text(str(self.saved))
        if self.saved == 2:
            raise RuntimeError("broken off")
        Path(folder, "model-2").write_text(str(self.saved))


class _EverBetter:
    primary_metric = "ndcg@10"

    def __call__(self, model: Any, epoch: float, steps: int) -> dict[str, float]:
        return {"ndcg@10": steps / 10}


def test_the_best_model_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    model, evaluator = _HalfSaved(), _EverBetter()
    watching = EvaluationCallback(evaluator, every=1, best=tmp_path / "best")  # type: ignore[arg-type]
    for step, kept in [(1, "11"), (2, "11"), (3, "33")]:
        with pytest.raises(RuntimeError) if step == 2 else nullcontext():
            watching.on_step_end(None, SimpleNamespace(global_step=step, epoch=0, log_history=[]), None, model=model)
        assert "".join(path.read_text() for path in sorted((tmp_path / "best").iterdir())) == kept


RELEASE = """
import json, sys
from pathlib import Path
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from hf_relabel.trainers.training.callbacks import ReleaseCallback
from tests.trainers.training.test_callbacks import DATA, PAIRS
from tests.trainers.training_rows import training_arguments

folder = Path(sys.argv[1])
model = SentenceTransformer(str(folder / "base"), device="cpu")
release = ReleaseCallback("user/plain", DATA, "tiny", folder=folder / "release")
arguments = training_arguments(folder / "out", max_steps=2, per_device_train_batch_size=8)
trainer = SentenceTransformerTrainer(
    model, arguments, PAIRS, loss=MultipleNegativesRankingLoss(model), callbacks=[release]
)
trainer.train()
print(json.dumps(release.report and release.report.version))
"""


@pytest.mark.soak
def test_a_release_that_fails_keeps_the_model_and_is_resumed(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "base")
    with hub_and_client(tmp_path, modules=MODELS) as (_, client):
        token, client.token = client.token, "hf_of_nobody"
        failed = client.run(RELEASE, str(tmp_path))
        assert failed.returncode == 0, failed.stderr[-2000:]
        assert json.loads(failed.stdout.splitlines()[-1]) is None
        assert "hf-relabel push-model" in failed.stderr
        client.token = token
        resumed = client.command_json("push-model", str(tmp_path / "release"), "user/plain")
        assert (resumed["version"], resumed["tagged"]) == ("v1.0.0", True)
        assert client.python(RELEASE, str(tmp_path)) in ("v1.0.0", "v1.1.0")

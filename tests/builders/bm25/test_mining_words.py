"""BM25 over scripts with and without spaces between words, on the way in from a BEIR folder."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from hf_relabel.builders.bm25.word_index import WordIndex
from hf_relabel.builders.bm25.words import words
from hf_relabel.builders.sources import open_source

# language: the query, its positive, what is close to it, what is about something else
SENTENCES = {
    "chinese": (
        "如何更换手机电池？",
        "手机电池可以在维修店更换，大约需要半小时。",
        "笔记本电脑的电池不能随身托运。",
        "今天北京的天气晴朗。",
    ),
    "traditional chinese": (
        "臺北到高雄的高鐵票價是多少？",
        "從臺北搭高鐵到高雄，標準車廂票價為1490元。",
        "高鐵車票可以在便利商店購買。",
        "他喜歡喝烏龍茶。",
    ),
    "japanese": (
        "東京で美味しいラーメン屋はどこですか。",
        "新宿には美味しいラーメン屋がたくさんあります。",
        "京都のラーメンは味が濃いことで知られています。",
        "猫は一日の大半を寝て過ごす。",
    ),
    "thai": (
        "วิธีทำต้มยำกุ้งใส่อะไรบ้าง",
        "ต้มยำกุ้งใส่ตะไคร้ ใบมะกรูด ข่า และพริก",
        "กุ้งแม่น้ำเผากินกับน้ำจิ้มซีฟู้ด",
        "วันนี้ฝนตกหนักมากในเชียงใหม่",
    ),
    "khmer": (
        "តើរាជធានីនៃប្រទេសកម្ពុជាគឺជាអ្វី",
        "ភ្នំពេញគឺជារាជធានីនៃប្រទេសកម្ពុជា",
        "ប្រទេសកម្ពុជាមានព្រំប្រទល់ជាប់ប្រទេសថៃ",
        "ខ្ញុំចូលចិត្តញ៉ាំបាយ",
    ),
}


def beir_folder(folder: Path, query: str, passages: list[str]) -> Path:
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": f"d{place}", "text": text}) for place, text in enumerate(passages)]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": query}), encoding="utf-8")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("language", SENTENCES)
def test_a_script_without_spaces_gets_its_negatives(language: str, tmp_path: Path) -> None:
    query, positive, close, far = SENTENCES[language]
    [numbered] = open_source(beir_folder(tmp_path / "set", query, [positive, far, close])).rows()
    assert [passage.text for passage in numbered.row.negative_passages][:1] == [close]


@pytest.mark.parametrize("language", SENTENCES)
def test_what_answers_the_query_ranks_first(language: str) -> None:
    query, positive, close, far = SENTENCES[language]
    [ranked] = WordIndex([far, close, positive]).best([query], 3)
    assert [position for position, _ in ranked][:2] == [2, 1]


def test_words_of_spaced_scripts_are_as_bm25s_has_them() -> None:
    from bm25s.tokenization import Tokenizer

    texts = [
        "Don't drop the 2nd-hand café's naïve menu, a.k.a. \u201cLa Carte\u201d!",
        "Привет, как дела? Ещё раз.",
        "한국어 문장은 띄어쓰기가 있다",
        "हिन्दी में लिखा हुआ वाक्य",
        "",
        "a",
    ]
    plain = Tokenizer(stopwords=None).tokenize(texts, return_as="string", show_progress=False)
    assert [words(text.lower()) or [""] for text in texts] == plain


def test_a_run_of_letters_becomes_its_neighbours() -> None:
    assert words("我买了iphone 15和水。茶") == ["我买", "买了", "iphone", "15", "和水", "茶"]
    assert words("カメラ・レンズ") == ["カメ", "メラ", "レン", "ンズ"]
    assert words("กา ก") == ["กา", "ก"]


def test_queries_without_negatives_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = beir_folder(tmp_path / "set", "blue sky", ["the blue sky", "green grass"])
    with caplog.at_level(logging.WARNING, "hf_relabel"):
        [numbered] = open_source(folder).rows()
    assert numbered.row.negative_passages == ()
    assert "qrels/train.tsv: BM25 finds no negatives for 1 of 1 queries" in caplog.text

"""Saved replies of the reference implementation, read without its faults. Examples are written in its form."""

import pytest

from hf_relabel.builders.judgements import Label
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge, read_rlhn_response
from hf_relabel.builders.rows import Passage, Row

ROW = Row(
    "q1",
    "how high is the tower",
    (Passage("p", "", "It is 330 m high."),),
    tuple(Passage(f"n{number}", "", f"text {number}") for number in range(1, 5)),
    "fiqa",
)


def response(better: str, worse: str = "[]") -> str:
    return (
        "<thinking>\nevaluate\nDoc (1): About another tower.\nDoc (2): Gives the height.\n</thinking>\n\n"
        "<preference>\ncompare\nDoc (2): As precise as the ground truth.\n</preference>\n\n"
        f"<verdict> \n<better> Preferred over or equally as ground truth: {better} </better>, \n"
        f"<worse> Relevant but not preferred over ground truth:  {worse} </worse>\n</verdict>"
    )


def labels(text: str, finish_reason: str | list[str] = "stop") -> str:
    """The labels of the four negatives by their first letters, in order."""
    judgements = read_rlhn_response(ROW, text, finish_reason)
    assert list(judgements) == [0, 1, 2, 3]
    return "".join(judgement.label[0] for judgement in judgements.values())


@pytest.mark.parametrize("finish_reason", ["stop", ["stop"], None, []])
def test_doc_i_is_the_ith_negative_as_stored(finish_reason: str | list[str]) -> None:
    assert labels(response("[Doc (2)]", "[Doc (3), Doc (4)]"), finish_reason) == "ibww"


def test_the_rationale_is_what_the_reply_says_of_that_document() -> None:
    judgements = read_rlhn_response(ROW, response("[Doc (2)]"), "stop")
    assert judgements[1].rationale == "Gives the height. As precise as the ground truth."
    assert judgements[0].rationale == "About another tower."
    assert judgements[3].rationale == ""


def test_empty_lists_mean_no_false_negatives() -> None:
    assert labels(response("[]")) == "iiii"


@pytest.mark.parametrize(
    "text",
    [
        "I cannot judge this.",
        response("[Doc (0)]"),
        response("[Doc (5)]"),
        response("[Doc (one)]"),
        response("[Doc (2)]").removesuffix("</worse>\n</verdict>"),
        response("[Doc (2)]").split("</thinking>")[0],
    ],
    ids=["prose", "Doc (0)", "out of range", "no number", "cut off in the verdict", "cut off in the thinking"],
)
def test_an_unreadable_reply_is_never_no_false_negatives(text: str) -> None:
    assert labels(text) == "uuuu"


@pytest.mark.parametrize("finish_reason", ["length", ["length"], "max_tokens"])
def test_a_cut_off_reply_says_nothing(finish_reason: str | list[str]) -> None:
    assert labels(response("[Doc (2)]"), finish_reason) == "uuuu"


def test_an_id_in_both_lists_says_nothing_of_that_document() -> None:
    assert labels(response("[Doc (2), Doc (1)]", "[Doc (2)]")) == "buii"


def test_no_reply_is_a_failure() -> None:
    judgements = read_rlhn_response(ROW, None, None)
    assert {judgement.label for judgement in judgements.values()} == {Label.FAILED}
    assert labels("") == "uuuu"


def test_a_reply_may_be_a_list_of_one() -> None:
    assert read_rlhn_response(ROW, [response("[Doc (1)]")], ["stop"])[0].label is Label.BETTER


def test_more_negatives_than_one_prompt_holds_today_are_read() -> None:
    long_row = Row("q", "q", ROW.positive_passages, ROW.negative_passages * 25, "nq")
    assert read_rlhn_response(long_row, response("[Doc (100)]"), "stop")[99].label is Label.BETTER


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("fiqa.stage_1.gpt-4o-mini.jsonl", "gpt-4o-mini"),
        ("replies/msmarco_passage.stage_2.gpt-4.1.jsonl", "gpt-4.1"),
        ("fiqa.stage_1.gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini.jsonl", "gpt-4o-mini"),
    ],
)
def test_the_model_is_known_from_the_file_name(name: str, model: str) -> None:
    assert SavedRepliesJudge(name).name == model


def test_the_judge_reads_a_row_of_a_file() -> None:
    judge = SavedRepliesJudge("fiqa.stage_1.gpt-4o-mini.jsonl")
    assert judge.settings() == {"format": "rlhn", "answers_by": "ids"}
    assert judge.judgements(ROW, response("[Doc (2)]"), "stop")[1].label is Label.BETTER

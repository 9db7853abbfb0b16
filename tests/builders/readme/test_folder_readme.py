"""Merging with a README.md: what is ours is replaced, what is the user's keeps every byte."""

from __future__ import annotations

from typing import Any

import datasets
import pytest
import yaml
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from hypothesis import assume, example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hf_relabel.builders.errors import CardError
from hf_relabel.builders.readme.front_matter import Readme
from hf_relabel.builders.readme.markers import BEGIN, END, find_block, put_block
from hf_relabel.builders.readme.merging import config_values, merge_readme
from tests.examples import drawn

SETTINGS = {"techniques": ["original", "remove-hn", "relabel"], "default_config": "remove-hn", "split": "train"}
OLD_BEGIN, OLD_END = BEGIN.replace("card", "configs"), END.replace("card", "configs")


def merged(earlier: str | None, content: str = "## Ours\n\ntext", **values: Any) -> str:
    return merge_readme(
        earlier,
        title="A title",
        values=lambda metadata: {**config_values(metadata, SETTINGS), **values},
        content=lambda metadata: content,
    )


def around(text: str) -> tuple[str, str]:
    """The body before and after our block."""
    body = Readme.parse(text).body
    found = find_block(body)
    assert found is not None
    return body[: found[0]], body[found[1] :]


# --- the text -------------------------------------------------------------------------------------------------------

fragments = st.sampled_from(
    [
        "# Title\n",
        "text",
        "\n",
        "\r\n",
        "\r",
        "  \t\n",
        "---\n",
        "- item\n  ",
        "```\ncode\n```\n",
        "~~~\n",
        "\ufeff",
        "> quote\n",
        f"{BEGIN}\n",
        f"{END}\n",
        f"`{BEGIN}` in a line\n",
        f"    {BEGIN}\n",
        f"```\n{BEGIN}\n```\n",
        "<!-- note -->\n",
        "license: mit\n",
    ]
)
readmes = st.lists(st.one_of(fragments, st.text(max_size=8)), max_size=8).map("".join)


@drawn(60)
@given(readmes, readmes)
@example("", "")
@example("no end of line", "")
@example("# T\r\n\r\ntext  \r\n", "")
@example("\ufeff---\r\nlicense: mit\r\n---\r\ntext", "")
def test_the_users_text_is_kept_byte_for_byte(before: str, after: str) -> None:
    try:
        first = merged(before)
    except CardError:
        assume(False)
    # In the body, as what follows `---` in a first line may be read as front matter that this test did not mean.
    body = Readme.parse(before).body
    if find_block(body) is None:
        assert around(first)[0].startswith(body)
    else:
        assert around(first) == around(before)
    assert merged(first) == first

    both = first + after
    try:
        second = merged(both, content="new")
    except CardError:
        assume(False)
    assert around(second)[0] == around(first)[0]
    assert second.endswith(after)
    assert around(second)[1] == around(first)[1] + after
    assert merged(second, content="new") == second


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_a_new_block_follows_the_text_and_ends_lines_as_the_file_does(eol: str) -> None:
    text = merged(f"# Mine{eol}{eol}Text.  {eol}")

    assert f"Text.  {eol}{eol}{BEGIN}{eol}" in text
    assert text.count("\n") == text.count(eol)


@pytest.mark.parametrize("end", ["", " ", "\n", "\n\n\n", "\r\n\t"])
def test_what_follows_the_block_keeps_its_end(end: str) -> None:
    first = merged("# Mine\n")

    assert merged(f"{first}After.{end}", content="new").endswith(f"{END}\nAfter.{end}")


def test_a_new_file_begins_with_the_title() -> None:
    assert Readme.parse(merged(None)).body.startswith(f"# A title\n\n{BEGIN}\n")


def test_an_empty_file_gets_no_title() -> None:
    assert Readme.parse(merged("")).body.startswith(BEGIN)


def test_a_block_of_a_folder_built_earlier_is_replaced() -> None:
    text = merged(f"# Mine\n\n{OLD_BEGIN}\nold table\n{OLD_END}\n\nAfter\n")

    assert "old table" not in text
    assert around(text) == ("# Mine\n\n", "\n\nAfter\n")


MARKERS_THAT_ARE_NONE = [
    f"```\n{BEGIN}\n```\n",
    f"~~~~ md\n```\n{BEGIN}\n~~~\n{END}\n~~~~~\n",
    f"- list\n  ```\n  {BEGIN}\n  ```\n",
    f"- ```\n  {END}\n  ```\n",
    f"1. one\n\n   ```\n   {END}\n      ```\n",
    f"    {BEGIN}\n",
    f"> {BEGIN}\n",
    f"Put `{BEGIN}` where it should go.\n",
    f"<pre>\n{BEGIN}\n</pre>\n",
    "<!-- a comment\n```\n-->\n",
]


@pytest.mark.parametrize("text", MARKERS_THAT_ARE_NONE)
def test_markers_in_code_and_in_sentences_mean_nothing(text: str) -> None:
    first = merged(f"{text}\n")
    assert around(first) == (f"{text}\n\n", "\n")

    second = merged(f"{first}\n{text}", content="new")
    assert around(second) == (f"{text}\n\n", f"\n\n{text}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{BEGIN}\ntext\n", 1),
        (f"# T\n\n{END}\n", 3),
        (f"{END}\n{BEGIN}\n", 1),
        (f"{BEGIN}\n{BEGIN}\n{END}\n", 2),
        (f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n", 3),
        (f"{BEGIN}\n{END}\n\n{END}\n", 4),
        (f"{BEGIN}\n{OLD_END}\n", 2),
        (f"{OLD_BEGIN}\n{OLD_END}\n{BEGIN}\n{END}\n", 3),
        (f"---\nlicense: mit\n---\n\n{BEGIN}\r\n", 5),
        ("text\n<!-- hf-relabel:begin crad -->\n", 2),
        ("text\r\n<!--hf-relabel:begin card-->\r\n", 2),
        (f"{BEGIN} text\n{END}\n", 1),
        (f"```\n{BEGIN}\n```\n{END}\n", 4),
        ("one\n```\ntwo\n", 2),
        ("one\n<!-- two\n", 2),
        ("<pre>\n", 1),
    ],
)
def test_broken_markers_are_refused_with_their_line(text: str, line: int) -> None:
    with pytest.raises(CardError, match=rf"README\.md, line {line}: "):
        merged(text)


blocks = st.sampled_from(
    [
        "text\n",
        "\n",
        "```\n",
        "````\n",
        "```py\n",
        "~~~\n",
        "  ```\n",
        "   ~~~\n",
        "<!-- c -->\n",
        "<pre>x</pre>\n",
        "# T\n",
    ]
)


@drawn(60)
@given(st.lists(blocks, max_size=6), st.lists(blocks, max_size=6))
@example(["```\n"], ["```\n"])
@example(["  ```\n", "   ~~~\n"], ["```\n"])
def test_a_marker_is_what_commonmark_takes_for_a_comment(before: list[str], after: list[str]) -> None:
    text = "".join([*before, f"{BEGIN}\n", *after])
    tokens = MarkdownIt("commonmark").parse(text)
    comments = [token.map[0] + 1 for token in tokens if token.type == "html_block" and BEGIN in token.content]
    try:
        found: object = find_block(text)
    except CardError as error:
        found = str(error)
    if "has no end" not in str(found):
        assert (found is None) == (not comments)
        assert found is None or f"line {comments[0]}: hf-relabel:begin card is never ended" in str(found)


def test_the_block_never_touches_what_is_around_it() -> None:
    body = f"a{BEGIN}\n\n  {BEGIN}  \nold\n {END}\t\nb"

    assert put_block(body, "new", eol="\n").replace("\n", "|").startswith(f"a{BEGIN}||  {BEGIN}|")
    assert put_block(body, "new", eol="\n").endswith(f"{END}\t\nb")


# --- the front matter -----------------------------------------------------------------------------------------------

USERS = """\
# a comment of the user
license:   mit   # chosen with care
"pretty_name": 'Mine'

tags: [a,   b]
# about the next
extra:
    -   |
        # no comment
        text
    - {x: 1,  y: 2}

anchored: &here {a: 1}
again: *here
empty:
"""


def test_names_that_are_not_ours_keep_their_bytes_and_order() -> None:
    text = merged(f"---\n{USERS}---\nbody\n")

    assert text.startswith(f"---\n{USERS}configs:\n")
    assert Readme.parse(text).metadata()["again"] == {"a": 1}


def test_a_value_is_replaced_in_its_place_and_comments_around_it_stay() -> None:
    text = merged(f"---\n{USERS}---\n", license="apache-2.0", tags=["a", "b", "c"], extra=None)

    expected = USERS.replace("license:   mit   # chosen with care", "license: apache-2.0")
    expected = expected.replace("tags: [a,   b]\n", "tags:\n- a\n- b\n- c\n")
    start, end = expected.index("extra:"), expected.index("\nanchored")
    assert Readme.parse(text).yaml.startswith(expected[:start] + expected[end:])


def test_a_value_that_is_there_already_is_not_touched() -> None:
    assert "license:   mit   # chosen with care\n" in merged(f"---\n{USERS}---\n", license="mit", tags=["a", "b"])


values = st.recursive(
    st.one_of(
        st.text(max_size=12),
        st.integers(),
        st.booleans(),
        st.none(),
        st.sampled_from(["# x", "a: b", "---", "'", "\n---\n"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
names = st.one_of(
    st.sampled_from(["license", "tags", "dataset_info", "extra", "no", "configs "]), st.text(min_size=1, max_size=6)
)


@drawn(40)
@given(st.dictionaries(names, values, max_size=5), st.booleans(), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_front_matter_is_edited_name_by_name(users: dict[str, Any], flow: bool, eol: str, unicode: bool) -> None:
    assume("configs" not in users and not isinstance(users.get("dataset_info"), list))
    dumped = (
        yaml.safe_dump(users, sort_keys=False, allow_unicode=unicode, default_flow_style=flow or None) if users else ""
    )
    assume(not dumped.startswith("{"))
    dumped = dumped.replace("\n", eol)
    earlier = f"---{eol}{dumped}---{eol}body"
    before = Readme.parse(earlier).metadata()
    text = merged(earlier, license="apache-2.0")
    after = Readme.parse(text).metadata()

    assert {name: value for name, value in after.items() if name not in ("configs", "license")} == {
        name: value for name, value in before.items() if name != "license"
    }
    assert after["license"] == "apache-2.0"
    assert list(after)[: len(before)] == list(before)
    assert merged(text, license="apache-2.0") == text
    if "license" not in before:
        assert text.startswith(f"---{eol}{dumped}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("---\na: [\n---\n", "line 3: the front matter is not valid YAML"),
        ("---\na: 1\nb: 2: 3\n---\n", "line 3: the front matter is not valid YAML"),
        ("\n\n---\na: \t- x: [\n---\n", "line 4: "),
        ("---\n- a\n---\n", "line 2: the front matter is no list of names"),
        ("---\njust text\n---\n", "line 2: the front matter is no list of names"),
        ("---\ndate: 2024-13-45\n---\n", "line 2: the front matter cannot be read"),
        ("---\na: \x00\n---\n", "line 2: the front matter cannot be read"),
        ("---\nlicense: mit\nb: 1\nlicense: mit\n---\n", "line 4: 'license' stands in the front matter twice"),
        ("---\n{license: mit}\n---\n", "line 2: the front matter is written in braces"),
        ("---\nlicense: &a mit\nb: *a\n---\n", "line 2: the front matter is written so that"),
        ("---\nconfigs: all\n---\n", "`configs` in the front matter must be a list"),
        ("---\nconfigs: [a]\n---\n", "`configs` in the front matter must be a list"),
    ],
)
def test_front_matter_that_cannot_be_edited_is_refused(text: str, message: str) -> None:
    with pytest.raises(CardError, match=message.replace("(", r"\(")):
        merged(text, license="apache-2.0")


@pytest.mark.parametrize(
    ("text", "yaml_text", "body"),
    [
        ("---\na: 1\n---\nbody", "a: 1\n", "body"),
        ("---\r\na: 1\r\n---  \r\nbody", "a: 1\r\n", "body"),
        ("\ufeff---\na: 1\n---", "a: 1\n", ""),
        (" \n\n ---\na: 1\n---\n", "a: 1\n", ""),
        ("---\n---\nbody", "", "body"),
        ("--- \na: 1\n---\n", "", "--- \na: 1\n---\n"),
        ("---\na: 1\n", "", "---\na: 1\n"),
        ("text\n---\na: 1\n---\n", "", "text\n---\na: 1\n---\n"),
        ("---\na: |-\n  ---\n---\nb", "a: |-\n  ---\n", "b"),
    ],
)
def test_front_matter_is_where_the_hub_sees_it(text: str, yaml_text: str, body: str) -> None:
    readme = Readme.parse(text)

    assert (readme.yaml, readme.body) == (yaml_text, body)
    assert readme.with_body(readme.body) == text
    if yaml_text:
        assert DatasetCard(text.removeprefix("\ufeff")).data.to_dict() == readme.metadata()


# --- configs --------------------------------------------------------------------------------------------------------

FOREIGN = [
    {"config_name": "extra", "data_files": [{"split": "train", "path": "extra/*"}], "default": True},
    {"config_name": "remove", "data_files": [{"split": "train", "path": "remove/train-*"}]},
    {"config_name": "relabel-filter", "data_files": "theirs/*.parquet"},
    {"config_name": "relabel", "data_files": [{"split": "train", "path": "old/*"}], "default": True},
]


def configs_of(text: str) -> MetadataConfigs:
    return MetadataConfigs.from_dataset_card_data(DatasetCard(text).data)


def test_foreign_configs_stay_and_ours_are_replaced() -> None:
    configs = configs_of(merged(f"---\n{yaml.safe_dump({'configs': FOREIGN})}---\n"))

    assert list(configs) == ["original", "remove-hn", "relabel", "verdicts", "extra", "relabel-filter"]
    assert configs.get_default_config_name() == "remove-hn"
    assert configs["relabel"] == {"data_files": [{"split": "train", "path": "relabel/train-*"}]}
    assert configs["relabel-filter"] == {"data_files": "theirs/*.parquet"}


def test_a_foreign_config_called_default_stays_the_default() -> None:
    foreign = [{"config_name": "default", "data_files": "data/*"}]
    configs = configs_of(merged(f"---\n{yaml.safe_dump({'configs': foreign})}---\n"))

    assert configs.get_default_config_name() == "default"
    assert [name for name, config in configs.items() if config.get("default")] == []


@pytest.mark.parametrize(
    ("earlier", "kept"),
    [
        ([{"config_name": "relabel", "x": 1}, {"config_name": "extra"}], [{"config_name": "extra"}]),
        ([{"config_name": "verdicts"}], None),
        ({"config_name": "original"}, None),
        ({"features": []}, {"features": []}),
        ([{"config_name": "extra"}], [{"config_name": "extra"}]),
    ],
)
def test_dataset_info_of_our_configs_is_dropped(earlier: Any, kept: Any) -> None:
    text = merged(f"---\n{yaml.safe_dump({'dataset_info': earlier})}---\n")

    assert Readme.parse(text).metadata().get("dataset_info") == kept


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_datasets_reads_the_configs_of_a_folder(tmp_path: Any, start: str, eol: str) -> None:
    for name in ("original", "remove-hn", "relabel", "verdicts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-0.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "README.md").write_bytes(merged(f"{start}# Mine{eol}").encode())

    assert datasets.get_dataset_config_names(str(tmp_path)) == ["original", "remove-hn", "relabel", "verdicts"]
    assert datasets.get_dataset_default_config_name(str(tmp_path)) == "remove-hn"

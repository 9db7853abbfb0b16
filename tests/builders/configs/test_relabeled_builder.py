"""RelabeledBuilder: the techniques as `datasets` builder configs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_relabel.builders.configs.relabeled_builder import RelabeledBuilder, RelabeledConfig
from hf_relabel.builders.configs.writing import write_configs
from hf_relabel.builders.errors import BuildError, ConfigError
from hf_relabel.builders.judgements import Outcome, Verdict
from hf_relabel.builders.rows import NumberedRow, Passage, Row
from hf_relabel.builders.techniques import Technique, apply


class Data:
    """Ten rows of three negatives; row n has the n-th negative (modulo 5) as its false negative, if there is one."""

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift

    def rows(self) -> Iterator[NumberedRow]:
        for number in range(10):
            negatives = tuple(Passage(f"{number}-{index}", "", f"text {number} {index}") for index in range(3))
            row = Row(f"q{number}", "a query", (Passage(f"{number}-p", "", "good"),), negatives, "nq")
            yield NumberedRow(number, row)

    def verdicts(self, numbered: NumberedRow) -> Sequence[Verdict]:
        return [
            Verdict(
                index,
                negative.docid,
                Outcome.FALSE_NEGATIVE if index == (numbered.number + self.shift) % 5 else Outcome.NEGATIVE,
                "judged",
            )
            for index, negative in enumerate(numbered.row.negative_passages)
        ]

    def expected(self, technique: str) -> list[dict[str, Any]]:
        rewritten = [apply(technique, numbered.row, self.verdicts(numbered)) for numbered in self.rows()]
        return [row.to_dict() for row in rewritten if row is not None]

    def arguments(self) -> dict[str, Any]:
        return {"source": self.rows, "verdicts": self.verdicts}


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def prepared(builder: RelabeledBuilder) -> list[dict[str, Any]]:
    builder.download_and_prepare()
    rows: list[dict[str, Any]] = builder.as_dataset(split="train").to_list()
    return rows


@pytest.mark.parametrize("technique", list(Technique))
def test_a_config_from_rows_and_verdicts(technique: str, cache: str) -> None:
    data = Data()
    builder = RelabeledBuilder(config_name=technique, cache_dir=cache, **data.arguments())

    assert prepared(builder) == data.expected(technique)
    assert list(builder.as_streaming_dataset(split="train")) == data.expected(technique)
    passages = datasets.List({name: datasets.Value("string") for name in ("docid", "title", "text")})
    assert builder.as_dataset(split="train").features["negative_passages"] == passages


@pytest.mark.parametrize("technique", list(Technique))
def test_a_config_from_a_built_folder(technique: str, cache: str, tmp_path: Path) -> None:
    data = Data()
    judged = ((numbered, data.verdicts(numbered)) for numbered in data.rows())
    write_configs(judged, tmp_path / "built", stage_names=[])
    builder = RelabeledBuilder(config_name=technique, cache_dir=cache, configs_folder=tmp_path / "built")

    assert prepared(builder) == data.expected(technique)
    assert list(builder.as_streaming_dataset(split="train")) == data.expected(technique)


@pytest.mark.parametrize("technique", list(Technique))
def test_a_folder_with_the_original_gives_every_technique(technique: str, cache: str, tmp_path: Path) -> None:
    data = Data()
    judged = ((numbered, data.verdicts(numbered)) for numbered in data.rows())
    write_configs(
        judged, tmp_path / "built", stage_names=[], techniques=[Technique.ORIGINAL], default_config="original"
    )
    builder = RelabeledBuilder(config_name=technique, cache_dir=cache, configs_folder=tmp_path / "built")

    assert prepared(builder) == data.expected(technique)


def test_several_processes_prepare_the_shards_of_a_folder(cache: str, tmp_path: Path) -> None:
    data = Data()
    judged = ((numbered, data.verdicts(numbered)) for numbered in data.rows())
    write_configs(judged, tmp_path / "built", stage_names=[], max_shard_bytes=200)
    builder = RelabeledBuilder(config_name="relabel", cache_dir=cache, configs_folder=tmp_path / "built")
    builder.download_and_prepare(num_proc=2)

    assert builder.as_dataset(split="train").to_list() == data.expected("relabel")


def test_there_is_one_versioned_config_per_technique_and_per_view_of_it() -> None:
    names = ["original", "remove", "remove-hn", "relabel", "relabel-filter"]
    views = [f"{name}-{view}" for name in names for view in ("tuples", "triplets", "lists", "scores")]
    versions = {config.name: str(config.version) for config in RelabeledBuilder.BUILDER_CONFIGS}
    assert versions == dict.fromkeys([*names, *views], "1.0.0")
    assert all(isinstance(config, RelabeledConfig) for config in RelabeledBuilder.BUILDER_CONFIGS)


def test_changed_verdicts_do_not_reuse_the_cache(cache: str) -> None:
    before, after = Data(), Data(shift=1)

    for data in (before, after, before):
        builder = RelabeledBuilder(config_name="relabel", cache_dir=cache, **data.arguments())
        assert prepared(builder) == data.expected("relabel")


def test_a_folder_built_anew_does_not_reuse_the_cache(cache: str, tmp_path: Path) -> None:
    for data in (Data(), Data(shift=1)):
        judged = ((numbered, data.verdicts(numbered)) for numbered in data.rows())
        write_configs(judged, tmp_path / "built", stage_names=[])
        builder = RelabeledBuilder(config_name="relabel", cache_dir=cache, configs_folder=tmp_path / "built")
        assert prepared(builder) == data.expected("relabel")


def test_the_same_inputs_reuse_the_cache(cache: str) -> None:
    first, second = (RelabeledBuilder(config_name="relabel", cache_dir=cache, **Data().arguments()) for _ in range(2))
    other_limit = RelabeledBuilder(config_name="relabel", cache_dir=cache, limit=3, **Data().arguments())

    assert first.cache_dir == second.cache_dir
    assert other_limit.cache_dir != first.cache_dir


def test_a_digest_from_the_caller_saves_reading_everything_twice(cache: str) -> None:
    def unreadable() -> Iterator[NumberedRow]:
        raise AssertionError("read too early")

    config = {"source": unreadable, "verdicts": Data().verdicts}
    one, two = (
        RelabeledBuilder(config_name="relabel", cache_dir=cache, data_digest=digest, **config) for digest in "ab"
    )

    assert one.cache_dir != two.cache_dir


def test_a_config_may_be_empty(cache: str) -> None:
    class NoRows(Data):
        def rows(self) -> Iterator[NumberedRow]:
            yield from ()

    builder = RelabeledBuilder(config_name="relabel", cache_dir=cache, **NoRows().arguments())

    assert prepared(builder) == []


@pytest.mark.parametrize(
    "arguments",
    [{"source": Data().rows}, {"verdicts": Data().verdicts}, {**Data().arguments(), "configs_folder": "built"}],
    ids=["rows only", "verdicts only", "both ways"],
)
def test_data_is_given_in_one_way(arguments: dict[str, Any], cache: str) -> None:
    with pytest.raises(ConfigError, match="configs_folder"):
        RelabeledBuilder(config_name="relabel", cache_dir=cache, **arguments)


def test_without_data_there_is_nothing_to_prepare(cache: str) -> None:
    builder = RelabeledBuilder(config_name="relabel", cache_dir=cache)

    with pytest.raises(ConfigError, match="Give RelabeledBuilder a configs_folder"):
        builder.download_and_prepare()


def test_a_folder_that_cannot_give_the_config_says_which_it_has(cache: str, tmp_path: Path) -> None:
    write_configs([], tmp_path / "built", stage_names=[], techniques=[Technique.REMOVE], default_config="remove")
    builder = RelabeledBuilder(config_name="relabel", cache_dir=cache, configs_folder=tmp_path / "built")

    with pytest.raises(BuildError, match=r"neither the config 'relabel' nor `original`.* It has: remove"):
        builder.download_and_prepare()


def test_other_modules_do_not_import_datasets() -> None:
    modules = ", ".join(f"hf_relabel.builders.{name}" for name in ("configs.writing", "techniques", "configs.manifest"))
    code = f"import sys, {modules}; print({{'datasets', 'pyarrow'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"

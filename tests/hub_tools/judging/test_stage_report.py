"""What a judge of a stage did, and several such reports as one."""

from __future__ import annotations

from dataclasses import fields

from hf_relabel.hub_tools.judging.on_ray_actor import sum_of
from hf_relabel.hub_tools.judging.stage_report import StageReport


def test_all_that_is_counted_is_added_up() -> None:
    one = StageReport("stage", "judge")
    for number, each in enumerate(fields(StageReport)):
        value = getattr(one, each.name)
        if isinstance(value, dict):
            setattr(one, each.name, dict.fromkeys(value, number))
        elif isinstance(value, tuple):
            setattr(one, each.name, ("a", "b"))
        elif not isinstance(value, str):
            setattr(one, each.name, number)
    total = sum_of([one, one])
    for each in fields(StageReport):
        value, added = getattr(one, each.name), getattr(total, each.name)
        if isinstance(value, dict):
            assert added == {name: 2 * number for name, number in value.items()}, each.name
        elif isinstance(value, tuple):
            assert added == value, each.name
        elif not isinstance(value, str):
            assert added == 2 * value, each.name
    assert sum_of([StageReport("", "")]).cost is None

"""What a model card says of the difference to the rows as they were: never without its interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, table
from hf_relabel.cards.figures.forest import compare_lines, compare_png, forest_alt
from hf_relabel.cards.model_results import metric_name, shown_name
from hf_relabel.cards.training_report import Comparison, MeasuredDifference, TrainingReport

DIFFERENCE = "figures/difference.png"
ORIGINAL = "original"


def original_text(report: TrainingReport) -> Markdown:
    """Whether the numbers show what relabelling gave, and what it gave."""
    compared = report.comparison
    if compared is None:
        if report.data.config == ORIGINAL:
            return Markdown("The training data are the rows as they were, so these numbers say nothing of relabelling.")
        return Markdown(
            f"The same model was not trained on `{ORIGINAL}`, the rows as they were. So nothing here shows what other"
            " labels changed."
        )
    overall = shown_difference(report)
    return _without_difference(report, compared) if overall is None else _with_difference(report, compared, overall)


def shown_difference(report: TrainingReport) -> MeasuredDifference | None:
    """The difference over all sets; None where there is none, or where its bounds are not known."""
    return None if report.comparison is None else report.comparison.bounded


def _without_difference(report: TrainingReport, compared: Comparison) -> Markdown:
    config, own = as_code(shown_name(compared.config)), as_code(shown_name(report.data.config))
    runs = f"{len(compared.seeds)} runs with the seeds" if len(compared.seeds) > 1 else "one run with the seed"
    seeds = f", {runs} {', '.join(map(str, compared.seeds))}" if compared.seeds else ""
    return Markdown(
        f"For comparison, the same model was trained in the same way on {config}{seeds}; this one on {own}, one run"
        f" with the seed {report.seed}. How far other runs would be off is not known, so no difference is given."
    )


def _with_difference(report: TrainingReport, compared: Comparison, overall: MeasuredDifference) -> Markdown:
    config, own = as_code(shown_name(compared.config)), as_code(shown_name(report.data.config))
    metric = as_text(metric_name(compared.metric or ""))
    sets = len(compared.differences)
    where = f"the {overall.queries:,} queries of {as_text(shown_name(overall.name))}"
    if sets > 1:
        where = f"{overall.queries:,} queries of {sets} sets"
    low, high = overall.low or 0.0, overall.high or 0.0
    verdict = "" if low > 0 or high < 0 else " The interval has 0 in it: the difference may be chance."
    chance = "" if compared.p is None else f", p = {compared.p:.4f}"
    seeds = ", ".join(map(str, compared.seeds))
    left = "; ".join(f"{count:,} of {as_text(shown_name(name))}" for name, count in sorted(compared.left_out.items()))
    return Markdown(
        f"**Against the rows as they were**, {config}: the same model was trained in the same way on both,"
        f" {len(compared.seeds)} runs each with the seeds {seeds}; the model here is the one with the seed"
        f" {report.seed}. On {where}, {own} differs by {_points(overall.difference)} points of {metric} × 100, 95 %"
        f" interval {_points(low)} to {_points(high)}{chance}.{verdict}"
        + (f" Left out were queries that are trained on: {left}." if left else "")
    )


def differences_table(report: TrainingReport) -> Markdown | None:
    """A line per set, and one for the mean; None where no difference is given."""
    compared, overall = report.comparison, shown_difference(report)
    if compared is None or overall is None:
        return None
    metric = metric_name(compared.metric or "")
    headers = [
        "set",
        "queries",
        f"{metric}, {shown_name(compared.config)}",
        f"{metric}, {shown_name(report.data.config)}",
    ]
    rows = [_row(each, shown_name(each.name)) for each in compared.differences]
    if len(compared.differences) > 1:
        rows.append(_row(overall, f"mean of {overall.name}"))
    return table([*headers, "difference in points", "interval"], rows)


def intervals_text(report: TrainingReport) -> str | None:
    """What the intervals of that table are of."""
    compared = report.comparison
    if compared is None or shown_difference(report) is None:
        return None
    text = f"Means over {len(compared.seeds)} runs of each. Intervals count both other runs and other queries"
    if len(compared.differences) == 1:
        return f"{text}."
    return f"{text}; those of the sets are wide enough for all of them to hold together in 95 of 100 cases."


def _row(each: MeasuredDifference, name: str) -> list[object]:
    known = each.low is not None and each.high is not None
    interval = f"{_points(each.low or 0.0)} to {_points(each.high or 0.0)}" if known else None
    return [
        name,
        each.queries,
        Markdown(f"{each.other:.4f}"),
        Markdown(f"{each.this:.4f}"),
        Markdown(_points(each.difference)) if known else None,
        interval,
    ]


def _points(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def difference_png(report: TrainingReport) -> bytes | None:
    """The differences as a forest plot; None where none is given."""
    return None if shown_difference(report) is None else compare_png(_evidence(report))


def difference_alt(report: TrainingReport) -> Markdown | None:
    """The numbers of that figure in words."""
    if shown_difference(report) is None:
        return None
    numbers = forest_alt(compare_lines(_evidence(report))).removeprefix("Differences with 95 % intervals. ")
    return as_text(f"Differences to {shown_name(ORIGINAL)} in points, with their intervals. {numbers}", breaks=False)


def _evidence(report: TrainingReport) -> dict[str, Any]:
    """As the evidence of a comparison has it, which is drawn in the same way."""
    compared, overall = report.comparison, shown_difference(report)
    assert compared is not None
    assert overall is not None
    arm = {
        "name": shown_name(report.data.config),
        "difference": overall.difference,
        "low": overall.low,
        "high": overall.high,
        "differences": dict(_lines(compared)),
    }
    return {"baseline": shown_name(compared.config), "metric": metric_name(compared.metric or ""), "arms": [arm]}


def _lines(compared: Comparison) -> Iterator[tuple[str, list[float | None]]]:
    for each in compared.differences:
        yield shown_name(each.name), [each.difference, each.low, each.high]

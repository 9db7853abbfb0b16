"""The tables of a data card, each made from a manifest alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hf_relabel.builders.cascade.judged_share import JudgedShare
from hf_relabel.builders.config_names import SUSPECTS
from hf_relabel.builders.messages.counted import percent as share_told
from hf_relabel.builders.readme.configs_readme import totals
from hf_relabel.builders.readme.markdown import NOTHING, Markdown, as_code, as_text, table
from hf_relabel.cards.figures.of_data_card import ALL, BINS, MOST_SUBSETS, Spread, spreads
from hf_relabel.cards.kappa import cohens_kappa

Manifest = Mapping[str, Any]

_NBSP = "\u00a0"
WHAT_IT_IS = {
    "original": "the rows as they were.",
    "remove": "without the rows that have a false negative.",
    "remove-hn": "without the false negatives.",
    "relabel": "with the false negatives among the positives.",
    "relabel-filter": "as `relabel`, and without the doubtful negatives.",
}


def percent(part: float, whole: float) -> Markdown:
    """A share such as `57.9 %`; a dash where there is nothing to divide by."""
    return Markdown(f"{100 * part / whole:.1f}{_NBSP}%" if whole else NOTHING)


def config_list(manifest: Manifest) -> Markdown:
    """A line on each config."""
    names = [name for name in manifest["settings"]["techniques"] if name in WHAT_IT_IS]
    return Markdown("\n".join(f"- {as_code(name)}: {WHAT_IT_IS[name]}" for name in names))


def configs_table(manifest: Manifest) -> Markdown:
    rows = [
        [
            as_code(line["config"]),
            *(line[name] for name in ("rows", "positives", "negatives", "negatives relabelled", "negatives dropped")),
        ]
        for line in totals(manifest)
    ]
    return table(["config", "rows", "positives", "negatives", "relabelled", "dropped"], rows)


def subsets_table(manifest: Manifest) -> Markdown:
    """What was found in each subset."""
    rows = []
    for name, counts in _lines(manifest["verdicts"], manifest):
        outcomes = {outcome: sum(reasons.values()) for outcome, reasons in counts["outcomes"].items()}
        all_rows = sum(counts["false_negatives_per_row"].values())
        affected = counts["rows_with_false_negatives"]
        false_negatives = outcomes["false_negative"] + outcomes["duplicate"]
        rows.append(
            [
                name,
                all_rows,
                Markdown(f"{affected:,}{_NBSP}({percent(affected, all_rows)})"),
                counts["candidates"],
                Markdown(f"{false_negatives:,}{_NBSP}({percent(false_negatives, counts['candidates'])})"),
                outcomes["duplicate"],
                outcomes["doubtful"],
                outcomes["unjudged"],
            ]
        )
    headers = [
        "subset",
        "rows",
        "with false negatives",
        "negatives",
        "false",
        "of these copies",
        "doubtful",
        "unjudged",
    ]
    return table(headers, rows)


def changes_table(manifest: Manifest, config: str) -> Markdown:
    """Rows and passages of each subset before and after, in one config."""
    rows = [
        [
            name,
            _change(counts["rows_in"], counts["rows_out"]),
            _change(counts["positives"] - counts["moved"] + counts["positives_dropped"], counts["positives"]),
            _change(counts["negatives"] + counts["moved"] + sum(counts["dropped"].values()), counts["negatives"]),
        ]
        for name, counts in _lines(manifest["configs"][config], manifest)
    ]
    return table(["subset", "rows", "positives", "negatives"], rows)


def spread_table(manifest: Manifest) -> Markdown:
    """The numbers of the figure."""
    rows = [
        [_name(spread.name, is_total=not index), spread.affected, *spread.counts]
        for index, spread in enumerate(shown_spreads(manifest))
    ]
    return table(["subset", "rows with false negatives", *(name for name, _, _ in BINS)], rows)


def shown_spreads(manifest: Manifest) -> Sequence[Spread]:
    """The bars of the figure."""
    return spreads(manifest)[: MOST_SUBSETS + 1]


def hidden_subsets(manifest: Manifest) -> int:
    """How many subsets the tables and the figure leave out."""
    return max(0, len(manifest["verdicts"]["subsets"]) - MOST_SUBSETS)


def stages_table(manifest: Manifest) -> Markdown:
    """What each stage answered."""
    labels = ("better", "worse", "irrelevant", "failed", "unparsable", "not-asked")
    answers = manifest["verdicts"]["total"]["stages"]
    rows = [[as_code(name), *(answers[name].get(label, 0) for label in labels)] for name in _stages(manifest, answers)]
    return table(["stage", *(label.replace("-", " ") for label in labels)], rows)


def cut_note(manifest: Manifest) -> Markdown | None:
    """How many candidates each stage judged on a part of the text, where there are any."""
    counts = manifest["verdicts"]["total"].get("cut") or {}
    parts = [f"{as_code(name)} {counts[name]}" for name in _stages(manifest, counts) if counts[name]]
    return Markdown(", ".join(parts)) if parts else None


def suspects_count(manifest: Manifest) -> int | None:
    """Lines of the config `suspects`; None where nobody searched for them."""
    if not manifest["settings"].get("suspects"):
        return None
    return sum(int(file["rows"]) for path, file in manifest["files"].items() if path.startswith(f"{SUSPECTS}/"))


def judged_share(manifest: Manifest) -> Markdown:
    """How much of what needs a judge got a verdict."""
    found = JudgedShare.of(manifest["verdicts"]["total"]["outcomes"])
    if not found.needed:
        return Markdown("No negative needed a judge.")
    of = f"{found.judged:,} of the {found.needed:,} negatives that need a judge"
    return Markdown(f"{of} got a verdict ({share_told(found.share)}).")


def failures_table(manifest: Manifest) -> Markdown | None:
    """Candidates without a verdict, by reason, where there are any."""
    counts = list(_lines(manifest["verdicts"], manifest))
    reasons = sorted({reason for _, line in counts for reason in line["outcomes"]["unjudged"]})
    if not reasons:
        return None
    rows = [[name, *(line["outcomes"]["unjudged"].get(reason, 0) for reason in reasons)] for name, line in counts]
    return table(["subset", *(reason.replace("-", " ") for reason in reasons)], rows)


def agreement_table(manifest: Manifest) -> Markdown | None:
    """How often two stages that follow each other agree that a candidate is a false negative; None if unknown."""
    pairs = manifest["verdicts"]["total"].get("agreement")
    if not pairs:
        return None
    rows = []
    for pair in pairs:
        both, neither = pair["both"], pair["neither"]
        total = both + neither + pair["only_first"] + pair["only_second"]
        kappa = cohens_kappa(both, pair["only_first"], pair["only_second"], neither)
        rows.append(
            [
                Markdown(f"{as_code(pair['first'])} and {as_code(pair['second'])}"),
                total,
                both,
                pair["only_first"],
                pair["only_second"],
                neither,
                percent(both + neither, total),
                None if kappa is None else Markdown(f"{kappa:.2f}"),
            ]
        )
    return table(["stages", "candidates", "both", "only first", "only second", "neither", "agree", "kappa"], rows)


def cost_table(manifest: Manifest, prices: Mapping[str, Mapping[str, float]]) -> Markdown | None:
    """Tokens of each stage; None if unknown.

    Args:
        prices: per stage "prompt" and "completion", US dollars per million tokens, for the stages that have a price.
    """
    tokens = manifest["verdicts"]["total"].get("tokens")
    if not tokens:
        return None
    rows = []
    for name in _stages(manifest, tokens):
        prompt, completion = tokens[name]["prompt"], tokens[name]["completion"]
        price = prices.get(name)
        cost = (prompt * price["prompt"] + completion * price["completion"]) / 1e6 if price else None
        judge = judge_of(manifest, name)
        rows.append(
            [
                as_code(name),
                as_code(judge.get("model", "")),
                round(prompt),
                round(completion),
                *([None if cost is None else Markdown(f"{cost:,.2f}")] if prices else []),
            ]
        )
    return table(["stage", "model", "prompt tokens", "completion tokens", *(["US dollars"] if prices else [])], rows)


def judges_table(manifest: Manifest) -> Markdown | None:
    """Who judged at each stage; None where the manifest does not say."""
    rows = []
    for stage in manifest.get("run", {}).get("stages", ()):
        for judge in judges_of(stage):
            settings = judge["settings"]
            digest = settings.get("prompt_sha256")
            rows.append(
                [
                    as_code(stage["name"]),
                    as_code(judge["kind"]),
                    as_code(judge["model"]),
                    as_code(_short(judge["revision"])),
                    as_code(settings.get("prompt", "")),
                    as_code(_short(digest)),
                    _passing(stage),
                ]
            )
    if not rows:
        return None
    return table(["stage", "judge", "model", "revision", "prompt", "prompt sha256", "passes on"], rows)


def judges_of(stage: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The judges of a stage of a run, as the manifest has them."""
    return list(stage.get("judges") or [stage["judge"]])


def _passing(stage: Mapping[str, Any]) -> Markdown:
    """How the stage combines its judges, what it passes on and what it settles."""
    parts = [f"{stage['escalate']}: {', '.join(stage['passes'])}"]
    if stage.get("combine"):
        parts.insert(0, f"combined by {stage['combine']['rule']}")
    if stage.get("accepts"):
        parts.append(f"final: {', '.join(stage['accepts'])}")
    return as_text("; ".join(parts))


def judge_of(manifest: Manifest, stage_name: str) -> Mapping[str, Any]:
    """The judge of a stage, as the manifest has it; empty where it has none."""
    for stage in manifest.get("run", {}).get("stages", ()):
        if stage["name"] == stage_name:
            return stage["judge"]  # type: ignore[no-any-return]
    return {}


def _stages(manifest: Manifest, known: Mapping[str, Any]) -> list[str]:
    """The names of the stages in their order; a manifest has its keys sorted."""
    return [name for name in manifest["settings"]["stages"] if name in known]


def _lines(counts: Mapping[str, Any], manifest: Manifest) -> Iterator[tuple[Markdown, Mapping[str, Any]]]:
    """The counts of all, and those of the subsets where there are several, largest first."""
    yield _name(ALL, is_total=True), counts["total"]
    for spread in shown_spreads(manifest)[1:]:
        if spread.name in counts["subsets"]:
            yield _name(spread.name), counts["subsets"][spread.name]


def _name(name: str, *, is_total: bool = False) -> Markdown:
    if is_total:
        return Markdown(f"**{ALL}**")
    return as_code(name) if name else Markdown("(none)")


def _change(before: int, after: int) -> Markdown:
    return Markdown(f"{before:,} → {after:,}" if before != after else f"{before:,}")


def _short(digest: object) -> str:
    return str(digest)[:12] if digest else ""

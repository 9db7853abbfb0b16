"""The data card of a release: a README.md with front matter for the Hub and a block of ours in the text.

Every value from the data goes through `readme_markdown.as_markdown` on its way into the template, so that it shows as
text and as nothing else. Text around our block is the user's, see `readme_parts`.
"""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.messages.counted import counted
from hf_relabel.builders.messages.expecting import expects
from hf_relabel.builders.messages.program import SCRIPT
from hf_relabel.builders.readme.configs_readme import EMPTY_NOTE, totals, view_lines
from hf_relabel.builders.readme.evidence_tables import audit_section, compare_section, zones_section
from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text, cut, fenced, one_line, table
from hf_relabel.builders.readme.merging import config_values, has_foreign_default, merge_readme
from hf_relabel.cards import tables
from hf_relabel.cards.card_facts import CardFacts
from hf_relabel.cards.code_blocks import load_block, template_of, training_block, trains_on, view_blocks
from hf_relabel.cards.data_tables import _plain, judge_settings, packages, source_line
from hf_relabel.cards.example import Example, ExampleFinder, example_of
from hf_relabel.cards.figures.agreement import AGREEMENT, agreement_alt, agreement_png, agreement_rows
from hf_relabel.cards.figures.forest import COMPARE, compare_alt, compare_png
from hf_relabel.cards.figures.of_data_card import BINS, FALSE_NEGATIVES
from hf_relabel.cards.figures.of_data_card import figures as false_negative_figures
from hf_relabel.cards.figures.reliability import RELIABILITY, reliability_alt, reliability_png

if TYPE_CHECKING:
    pass

__all__ = ["CardFacts", "Example", "ExampleFinder", "example_of", "figures", "render_card"]

TAGS = ("hf-relabel", "retrieval", "hard-negatives")
TASKS = ("text-retrieval",)
PASSAGE_LENGTH, RATIONALE_LENGTH = 400, 600
"""Characters of a passage and of a rationale shown in the example."""
POSITIVES_SHOWN = 3
_CITATION = string.Template(
    r"""
@misc{$key,
  title = {{$name}},
$note  howpublished = {\url{https://huggingface.co/datasets/$name}}
}

@misc{thakur2025hard,
  title = {Hard Negatives, Hard Lessons: Revisiting Training Data Quality for Robust Information Retrieval with LLMs},
  author = {Thakur, Nandan and Zhang, Crystina and Ma, Xueguang and Lin, Jimmy},
  year = {2025},
  eprint = {2505.16967},
  archivePrefix = {arXiv}
}""".lstrip()
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@expects(facts="CardFacts", earlier=(str, type(None)))
def render_card(facts: CardFacts, earlier: str | None) -> str:
    """The README.md of a release.

    Example:
            release = open_release("cleaned")
            print(render_card(CardFacts("user/train-relabeled", "v1.0.0", release.manifest, license="cc-by-4.0"), None))

    Args:
        earlier: the README.md that is there, None if there is none. All that is not ours stays as it is, byte for byte.

    Raises:
        CardError: its front matter cannot be read or edited, or its markers are broken. Nothing is guessed.
    """
    template = template_of("data_card.md.jinja")
    return merge_readme(
        earlier,
        title=as_text(_title(facts)),
        values=lambda metadata: _values(facts, metadata),
        content=lambda metadata: template.render(_context(facts, metadata)),
    )


def _values(facts: CardFacts, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Our names in the front matter, in the order in which a new card has them."""
    values: dict[str, Any] = {}
    if facts.pretty_name or not metadata.get("pretty_name"):
        values["pretty_name"] = _title(facts)
    if facts.license:
        values["license"] = one_line(facts.license)
    if facts.language:
        values["language"] = [one_line(code) for code in facts.language]
    values["task_categories"] = with_ours(metadata.get("task_categories"), TASKS)
    values["tags"] = with_ours(metadata.get("tags"), (*TAGS, *facts.tags))
    if not metadata.get("library_name"):
        values["library_name"] = "datasets"
    values["size_categories"] = [size_category(facts.manifest["rows"]["count"])]
    sources = [*_hub_source(facts.manifest), *facts.source_datasets]
    if sources:
        values["source_datasets"] = with_ours(metadata.get("source_datasets"), sources)
    return values | config_values(metadata, facts.manifest["settings"], facts.manifest["files"])


def with_ours(present: Any, ours: Iterable[str]) -> Any:
    """What is listed there already, and ours after it."""
    listed = present if isinstance(present, list) else [present] if present else []
    new = [name for name in dict.fromkeys(map(one_line, ours)) if name not in listed]
    return [*listed, *new] if new else present


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows: `n<1K`, `1K<n<10K`, … `n>1T`."""
    bounds = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    for power, bound in enumerate(bounds, start=3):
        if rows < 10**power:
            return f"n<{bound}" if power == 3 else f"{bounds[power - 4]}<n<{bound}"
    return "n>1T"


def _hub_source(manifest: Mapping[str, Any]) -> list[str]:
    """The source, if it is a data set on the Hub."""
    source = manifest.get("source", {})
    name = str(source.get("name", ""))
    return [name] if source.get("revision") and _HUB_NAME.fullmatch(name) else []


def _title(facts: CardFacts) -> str:
    return one_line(facts.pretty_name or facts.repo_id.rpartition("/")[2])


def _context(facts: CardFacts, metadata: Mapping[str, Any]) -> dict[str, Any]:
    manifest = facts.manifest
    settings, verdicts = manifest["settings"], manifest["verdicts"]["total"]
    lines = {line["config"]: line for line in totals(manifest)}
    return {
        "facts": facts,
        "manifest": manifest,
        "settings": settings,
        "default": settings["default_config"],
        "trains_on": trains_on(settings),
        "foreign_default": has_foreign_default(metadata, settings),
        "verdicts": verdicts,
        "false_negatives": sum(
            sum(verdicts["outcomes"][outcome].values()) for outcome in ("false_negative", "duplicate")
        ),
        "rows": manifest["rows"]["count"],
        "empty_note": _empty_note(lines),
        "without_negatives": manifest["configs"][trains_on(settings)]["total"]["rows_without_negatives"],
        "figure": Markdown(FALSE_NEGATIVES),
        "alt": _alt(manifest),
        "example": None if facts.example is None else _example(facts.example, settings["stages"]),
        "source": source_line(manifest),
        "judge_settings": judge_settings(manifest),
        "packages": packages(manifest),
        "escalates_candidates": any(
            stage["escalate"] == "candidate" for stage in manifest.get("run", {}).get("stages", ())[:-1]
        ),
        "agreement_figure": _agreement_figure(manifest) if tables.agreement_table(manifest) else None,
        "evidence": _evidence(manifest),
        "rebuild": fenced(_rebuild(facts), "bash"),
        "citation": fenced(facts.citation or citation(facts), "bibtex"),
        "load_datasets": load_block(facts, "load_datasets.py.jinja"),
        "load_sentence_transformers": load_block(facts, "load_sentence_transformers.py.jinja"),
        "train_rows": training_block(facts, "rows", trains_on(settings)),
        "views": view_blocks(facts),
        "view_lines": [as_text(line, breaks=False) for line in view_lines(manifest)],
        "load_tevatron": load_block(facts, "load_tevatron.py.jinja"),
        "tables": tables,
    }


def _empty_note(lines: Mapping[str, Mapping[str, Any]]) -> Markdown | None:
    empty = [f"`{name}`" for name, line in lines.items() if not line["rows"]]
    return Markdown(EMPTY_NOTE.format(", ".join(empty))) if empty else None


def _alt(manifest: Mapping[str, Any]) -> Markdown:
    """The numbers of the figure in words, for those who do not see it."""
    parts = []
    for spread in tables.shown_spreads(manifest):
        shares = ", ".join(
            f"{name}: {share:.1%}" for (name, _, _), share in zip(BINS, spread.shares, strict=True) if share
        )
        rows = f"{spread.affected:,} of {counted(spread.rows, 'row')}"
        parts.append(f"{spread.name or '(none)'}: {rows}{f' ({shares})' if shares else ''}")
    text = f"Rows with false negatives, by how many they have. {'; '.join(parts)}."
    return as_text(text, breaks=False)


def _example(example: Example, stage_names: Sequence[str]) -> dict[str, Any]:
    answers = [
        [
            as_code(name),
            "not asked" if judgement is None else str(judgement.label),
            None if judgement is None or judgement.score is None else Markdown(f"{judgement.score:.3g}"),
            None if judgement is None else cut(judgement.rationale, RATIONALE_LENGTH) or None,
        ]
        for name, judgement in zip(stage_names, example.stages, strict=False)
    ]
    row = example.row
    return {
        "subset": row.subset,
        "query_id": row.query_id,
        "query": cut(row.query, PASSAGE_LENGTH),
        "positives": [_passage(passage) for passage in row.positive_passages[:POSITIVES_SHOWN]],
        "more_positives": max(0, len(row.positive_passages) - POSITIVES_SHOWN),
        "candidate": _passage(example.candidate),
        "answers": table(["stage", "label", "score", "reason"], answers),
    }


def _passage(passage: Any) -> dict[str, str]:
    title = one_line(passage.title)
    text = f"{title}: {passage.text}" if title else passage.text
    return {"docid": passage.docid, "text": cut(text, PASSAGE_LENGTH)}


def _agreement_figure(manifest: Mapping[str, Any]) -> Markdown | None:
    """The figure of agreement; None where there is none."""
    rows = agreement_rows(manifest)
    return Markdown(f"![{as_text(agreement_alt({'rows': rows}), breaks=False)}]({AGREEMENT})") if rows else None


def _evidence(manifest: Mapping[str, Any]) -> Markdown | None:
    """What backs the default config, as it stands in the manifest; None if nothing does."""
    evidence = manifest.get("evidence")
    if not evidence:
        return None
    if not isinstance(evidence, Mapping):
        return as_text(_plain(evidence))
    parts = []
    if "compare" in evidence:
        parts.append(f"![{compare_alt(evidence['compare'])}]({COMPARE})\n\n{compare_section(evidence['compare'])}")
    if "audit" in evidence:
        # Where stages are compared, the figure stands there already.
        figure = None if tables.agreement_table(manifest) else _agreement_figure(manifest)
        parts += [figure, audit_section(evidence["audit"])] if figure else [audit_section(evidence["audit"])]
    if "zones" in evidence:
        alt = as_text(reliability_alt(evidence["zones"]), breaks=False)
        parts.append(f"![{alt}]({RELIABILITY})\n\n{zones_section(evidence['zones'], manifest)}")
    known = ("compare", "audit", "zones")
    others = [[name, _plain(value)] for name, value in sorted(evidence.items()) if name not in known]
    if others:
        parts.append(table(["", "measured"], others))
    return Markdown("\n\n".join(parts))


def figures(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures of a release, by their path in it."""
    evidence = manifest.get("evidence") or {}
    drawn = false_negative_figures(manifest)
    agreement = agreement_rows(manifest)
    if agreement:
        drawn[AGREEMENT] = agreement_png({"rows": agreement})
    if "compare" in evidence:
        drawn[COMPARE] = compare_png(evidence["compare"])
    if "zones" in evidence:
        drawn[RELIABILITY] = reliability_png(evidence["zones"])
    return drawn


def _rebuild(facts: CardFacts) -> str:
    location = one_line(f"{facts.repo_id}@{facts.version}" if facts.version else facts.repo_id)
    return f"{SCRIPT} build --from {shlex.quote(location)} --out rebuilt"


def citation(facts: CardFacts) -> str:
    name, version = (re.sub(r"[^\w./-]", "", text, flags=re.ASCII) for text in (facts.repo_id, facts.version or ""))
    key = re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-")
    return _CITATION.substitute(key=key, name=name, note=f"  note = {{Version {version}}},\n" if version else "")

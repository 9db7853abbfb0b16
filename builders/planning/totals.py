"""Estimates of one judge's requests and tokens: assumed from its prompts, or measured on rows that were probed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hf_relabel.builders.messages.counted import counted as counted_as
from hf_relabel.builders.planning.counting import ProbedRow, StageToPlan, Survey, TokenSample, Usage
from hf_relabel.builders.planning.estimating import (
    CHARACTERS_PER_TOKEN,
    COMPLETION_TOKENS_PER_CANDIDATE,
    REGRESSED_ROWS,
    Range,
    TokenEstimate,
    ratio,
    regressed,
    share_passed_on,
)

_GUESSED_PROMPTS = f"assumed: {CHARACTERS_PER_TOKEN:g} characters per token"
_GUESSED_COMPLETIONS = f"assumed: {COMPLETION_TOKENS_PER_CANDIDATE} tokens per candidate"


@dataclass(frozen=True, slots=True)
class Totals:
    """The estimates of one judge."""

    usage: Usage
    prompt: TokenEstimate
    completion: TokenEstimate
    prompt_range: Range | None
    completion_range: Range | None
    basis: dict[str, str]

    def without_replies(self, probed: int, rows: int) -> Totals:
        """The same of a judge whose servers score texts and generate nothing."""
        nothing = TokenEstimate(0.0, (0.0,) * probed)
        basis = self.basis and self.basis | {"completion_tokens": "none: it scores texts"}
        return replace(self, completion=nothing, completion_range=nothing.range(rows), basis=basis)


def assumed(
    survey: Survey, stages: Sequence[StageToPlan], number: int, counted: TokenSample | None, first: bool
) -> Totals:
    """From what the prompts are and what replies mostly are."""
    total, begin = survey.stages[number], number
    while stages[begin].beside:
        begin -= 1
    rule = stages[begin - 1].rule  # of the stage before, however many judges this one has
    prompt = TokenEstimate(total.characters / CHARACTERS_PER_TOKEN, None)
    prompt_range, prompt_basis = None, _GUESSED_PROMPTS
    if counted is not None:
        by_prompt = ratio(counted.tokens, counted.characters, total.characters)
        prompt = TokenEstimate(by_prompt.value, None)
        # How much there is to send to a later stage is not known, however well its tokens are.
        prompt_range = by_prompt.range(total.requests) if first else None
        prompt_basis = f"{counted.tokenizer}, {counted_as(len(counted.tokens), 'prompt')}"
    completion = _guessed_completion(total)
    passed_on = f"assumed: {share_passed_on(rule, survey.escalated):.0%} of {rule.escalate}s are passed on"
    basis = {
        "requests": "counted" if first else passed_on,
        "prompt_tokens": prompt_basis,
        "completion_tokens": _GUESSED_COMPLETIONS,
    }
    return Totals(total, prompt, completion, prompt_range, None, basis if total.requests else {})


def measured(
    survey: Survey, number: int, probed: Sequence[ProbedRow], counted: TokenSample | None, first: bool
) -> Totals:
    """From what the probed rows took. The first stage is counted over all rows, and only its tokens are estimated."""
    usages = [row.stages[number] for row in probed]

    def total_of(values: Sequence[float]) -> TokenEstimate:
        if len(probed) < REGRESSED_ROWS:
            return ratio(values, [float(row.candidates) for row in probed], survey.candidates)
        return regressed(values, [_known_of(row) for row in probed], _known_of_all(survey))

    whole = survey.stages[number]
    if not first:
        rows, asked = ([getattr(usage, name) for usage in usages] for name in ("rows", "candidates"))
        requests, characters = ([getattr(usage, name) for usage in usages] for name in ("requests", "characters"))
        whole = Usage(*(total_of(values).value for values in (rows, asked, requests, characters)))
    prompts, prompt_basis = _prompts_of(usages, counted)
    characters = [usage.characters for usage in usages]
    prompt = ratio(prompts, characters, whole.characters) if first else total_of(prompts)
    if prompt_basis == _GUESSED_PROMPTS:
        prompt = TokenEstimate(prompt.value, None)
    completion, completion_basis = (
        total_of([usage.completion_tokens for usage in usages]),
        f"{counted_as(len(usages), 'row')} probed",
    )
    if not any(usage.completion_tokens for usage in usages):
        completion = _guessed_completion(whole) if whole.requests else completion
        completion_basis = _GUESSED_COMPLETIONS
    basis = {
        "requests": "counted" if first else f"{counted_as(len(usages), 'row')} probed",
        "prompt_tokens": prompt_basis,
        "completion_tokens": completion_basis,
    }
    prompt_range, completion_range = prompt.range(survey.rows), completion.range(survey.rows)
    return Totals(whole, prompt, completion, prompt_range, completion_range, basis if whole.requests else {})


def _known_of(row: ProbedRow) -> tuple[float, float, float]:
    """What is counted of every row: its candidates, whether it has any, the characters of its first prompts."""
    return float(row.candidates), float(row.candidates > 0), row.stages[0].characters


def _known_of_all(survey: Survey) -> tuple[float, float, float]:
    first = survey.stages[0]
    return survey.candidates, first.rows, first.characters


def _prompts_of(usages: Sequence[Usage], counted: TokenSample | None) -> tuple[list[float], str]:
    """Prompt tokens of the probed rows: what the servers reported, else what a tokenizer makes of the characters."""
    if any(usage.prompt_tokens for usage in usages):
        return [usage.prompt_tokens for usage in usages], f"{counted_as(len(usages), 'row')} probed"
    if counted is None or not sum(counted.characters):
        return [usage.characters / CHARACTERS_PER_TOKEN for usage in usages], _GUESSED_PROMPTS
    per_character = sum(counted.tokens) / sum(counted.characters)
    return [
        usage.characters * per_character for usage in usages
    ], f"{counted.tokenizer}, {counted_as(len(counted.tokens), 'prompt')}"


def _guessed_completion(total: Usage) -> TokenEstimate:
    return TokenEstimate(total.candidates * COMPLETION_TOKENS_PER_CANDIDATE if total.requests else 0.0, None)

"""The probability of a label, from the logprobs of the first token of a reply.

A label may be written in several ways (`Yes`, ` yes`, `YES`), each with its own token, and a tokenizer may cut it after
any letter. So the probabilities of all tokens that can only be the beginning of one label are added up for it; a token
that could begin two labels counts for none. Logprobs are taken as they come, at temperature 1: a temperature would
sharpen them and make the probability useless as a score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hf_relabel.builders.endpoint import TokenLogprob
from hf_relabel.builders.judges.prompted.reply_parsing import split_reasoning

_MARKS = "▁Ġ \t\r\n\"'*`(["
_ENDS = ".,:;!)]"


def label_masses(token: TokenLogprob, labels: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The probability mass of each label, in [0, 1].

    Args:
        token: the token that was chosen, with its alternatives.
        labels: the spellings of each label; case does not matter.
    """
    masses = dict.fromkeys(labels, 0.0)
    seen: set[str] = set()
    for text, logprob in ((token.text, token.logprob), *token.top):
        if text in seen:
            continue
        seen.add(text)
        label = label_begun(text, labels)
        if label is not None and not math.isnan(logprob):
            masses[label] += math.exp(min(logprob, 0.0))
    return {label: min(mass, 1.0) for label, mass in masses.items()}


def label_begun(text: str, labels: Mapping[str, Sequence[str]]) -> str | None:
    """The one label that this text begins, or is; None where it is none or could be several."""
    begun = text.strip(_MARKS).casefold()
    found = [label for label, spellings in labels.items() if any(_begins(begun, spelling) for spelling in spellings)]
    return found[0] if len(found) == 1 else None


def label_named(text: str, labels: Mapping[str, Sequence[str]]) -> str | None:
    """The one label that is the first word of this text, or None. "Yes or" and "Yes/No" name none."""
    words = text.split()
    first = words[0].strip(_MARKS + _ENDS).casefold() if words else ""
    goes_on = len(words) > 1 and words[0][-1].isalnum()
    found = [label for label, spellings in labels.items() if first in map(str.casefold, spellings)]
    return found[0] if len(found) == 1 and not goes_on else None


def _begins(begun: str, spelling: str) -> bool:
    whole = spelling.casefold()
    if not begun:
        return False
    return whole.startswith(begun) or (begun.startswith(whole) and not begun[len(whole)].isalnum())


def without_thoughts(tokens: Sequence[TokenLogprob]) -> list[TokenLogprob]:
    """The tokens after a model's thoughts; all of them where it did not think.

    Raises Unreadable where the thoughts do not end.
    """
    answer = split_reasoning("".join(token.text for token in tokens))[1]
    kept: list[TokenLogprob] = []
    for token in reversed(tokens):
        if not answer.endswith(token.text) or not answer:
            break
        answer = answer.removesuffix(token.text)
        kept.append(token)
    return kept[::-1]


def first_token(tokens: Sequence[TokenLogprob]) -> TokenLogprob | None:
    """The first token that shows anything: some models begin with white space or a mark."""
    return next((token for token in tokens if token.text.strip(_MARKS) and not token.text.startswith("<")), None)

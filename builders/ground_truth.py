"""Which ground truths of a row a prompt shows: all of them, unless they are too many or too long together."""

from __future__ import annotations

from collections.abc import Sequence

from hf_relabel.builders.rows import Passage

BYTES_PER_TOKEN = 4
"""Of UTF-8, as the tokenizers of Llama, Qwen and GPT models need in English; about so in other scripts too."""


def shown_positives(
    positives: Sequence[Passage], most: int, most_tokens: int | None, max_chars: int | None
) -> tuple[Passage, ...]:
    """The ground truths that are shown, in their order.

    Where they exceed a bound the shortest are taken, those first that are shown whole; one at least.

    Args:
        most: how many; 0 for a judge that is shown none.
        most_tokens: of all together, estimated; None for no bound.
        max_chars: what a prompt shows of a passage, None for all of it.
    """
    if not most:
        return ()
    if len(positives) <= most and (most_tokens is None or _characters(positives) <= most_tokens):
        return tuple(positives)  # no text has more tokens than characters: nothing to estimate
    ranked = sorted(
        (_is_cut(passage, max_chars), _tokens(passage, max_chars), n) for n, passage in enumerate(positives)
    )
    taken, tokens = [ranked[0][2]], ranked[0][1]
    for _, more, number in ranked[1:most]:
        tokens += more
        if most_tokens is not None and tokens > most_tokens:
            break
        taken.append(number)
    return tuple(positives[number] for number in sorted(taken))


def _characters(passages: Sequence[Passage]) -> int:
    return sum(len(passage.title) + len(passage.text) for passage in passages)


def _is_cut(passage: Passage, max_chars: int | None) -> bool:
    return max_chars is not None and max(len(passage.title), len(passage.text)) > max_chars


def _tokens(passage: Passage, max_chars: int | None) -> int:
    texts = (passage.title[:max_chars], passage.text[:max_chars])
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // BYTES_PER_TOKEN

"""Shell completion: `eval "$(_HF_RELABEL_COMPLETE=bash_source hf-relabel)"`, or `zsh_source`, or `fish_source`.

Commands, options and choices are completed, and files wherever nothing else is known, as the shell itself would.
"""

from __future__ import annotations

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)


class _WithFiles(ShellComplete):
    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        found = super().get_completions(args, incomplete)
        return found or [CompletionItem(incomplete, type="file")]


class _Bash(_WithFiles, BashComplete):
    pass


class _Zsh(_WithFiles, ZshComplete):
    pass


class _Fish(_WithFiles, FishComplete):
    pass


def register() -> None:
    """Let Click use the classes above."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)

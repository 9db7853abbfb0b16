"""Releases that are proposed in a pull request which is open still."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hf_relabel.hub_tools.hub.commit import WHAT
from hf_relabel.hub_tools.hub.errors import Account, hub_errors
from hf_relabel.hub_tools.releases.repository import Head, read_head

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Proposal:
    """An open pull request of ours.

    Attributes:
        ref: its branch, such as `refs/pr/1`.
        url: its page.
        head: the newest commit of that branch.
    """

    ref: str
    url: str
    head: Head

    def on(self, main: Head) -> Head:
        """What the next commit of the pull request is worked out from: its files, and the release it comes after."""
        files = (self.head.manifest or {}).get("files", {})
        manifest: Mapping[str, object] = {**(main.manifest or {}), "files": files}
        return replace(self.head, private=main.private, tags=main.tags, manifest=manifest)


def open_proposal(api: HfApi, repo_id: str, repo_type: str, record: str, main: Head) -> Proposal | None:
    """The newest open pull request in which this account proposes a release; None where there is none.

    Raises:
        ReleaseError: the Hub cannot be asked, or the branch holds a record that cannot be read.
    """
    from hf_relabel.hub_tools.hub.api import patiently

    account = Account.of(api)
    if account is None:
        return None
    with hub_errors(repo_id, None, api.token, what=WHAT[repo_type], writer=api):
        found = patiently(
            lambda: list(
                api.get_repo_discussions(
                    repo_id,
                    repo_type=repo_type,
                    author=account.name,
                    discussion_type="pull_request",
                    discussion_status="open",
                )
            ),
            may_fail=True,
        )
        ours = [each for each in found if each.is_pull_request and each.author == account.name]
    for each in sorted(ours, key=lambda each: each.num, reverse=True):
        head = read_head(api, repo_id, repo_type=repo_type, record=record, revision=f"refs/pr/{each.num}")
        if head.version is not None and head.version != main.version:
            return Proposal(f"refs/pr/{each.num}", each.url, head)
    return None

"""Writing to a repository on the Hub beside others.

Each commit names the head that was read before it. Where somebody else was first, all is worked out anew on top of
theirs, until it is our turn:

    repository = Repository(api, "user/set")
    repository.until_first(lambda: repository.commit([operation], "Say more", parent=head()), then="Push again later.")
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hf_relabel.builders.errors import RelabelError, ReleaseError
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.hub_tools.hub.errors import hub_errors, status_of
from hf_relabel.hub_tools.hub.uploads import quiet_xet

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

T = TypeVar("T")

WHAT = {"dataset": "data set", "model": "model", "space": "Space", "bucket": "bucket"}
"""Kinds of repositories as messages call them."""
ATTEMPTS = 50
"""Commits of others that one of ours may run into. Somebody gets through each time, so that many writers all do."""
_LONGEST_WAIT = 2.0


def _spread_out(number: int) -> None:
    """Wait, so that several that write at once come one after the other."""
    time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.05 * 2 ** (number - 1))))  # noqa: S311 - spreads writers out


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that is written to.

    Attributes:
        repo_type: `dataset`, `model` or `space`.
        error: what is raised where the Hub would not.
        busy: what is raised instead where it may later; None for `error`.
        names_account: whether a refusal names the account and says what it lacks.
    """

    api: HfApi
    repo_id: str
    repo_type: str = "dataset"
    error: type[RelabelError] = ReleaseError
    busy: type[RelabelError] | None = None
    names_account: bool = True

    def errors(self) -> AbstractContextManager[None]:
        """The client's errors as ours."""
        writer = self.api if self.names_account else None
        return hub_errors(self.repo_id, None, self.api.token, self.error, WHAT[self.repo_type], writer, self.busy)

    def create(self, *, private: bool | None = None, **options: Any) -> None:
        """Create it unless it exists."""
        with self.errors():
            self.api.create_repo(self.repo_id, repo_type=self.repo_type, private=private, exist_ok=True, **options)

    def commit(
        self,
        operations: Sequence[Any],
        message: str,
        parent: str | None,
        *,
        create_pr: bool = False,
        revision: str | None = None,
    ) -> CommitInfo | None:
        """One commit on top of the head that was read; None where somebody else was first.

        Args:
            create_pr: open a pull request with it.
            revision: the branch or pull request that it goes to; None for the main branch.
        """
        return self.unless_moved(
            lambda: self.api.create_commit(
                self.repo_id,
                operations,
                repo_type=self.repo_type,
                commit_message=message,
                parent_commit=parent,
                create_pr=create_pr,
                revision=revision,
            )
        )

    def unless_moved(self, send: Callable[[], T]) -> T | None:
        """What `send` gives, which commits on top of a head that was read; None where there is a newer one."""
        from huggingface_hub.errors import HfHubHTTPError

        with self.errors(), quiet_xet():
            try:
                return send()
            except HfHubHTTPError as error:
                if status_of(error) in (409, 412):
                    return None
                raise

    def until_first(
        self,
        attempt: Callable[[], T | None],
        *,
        then: str,
        again: Callable[[], None] = lambda: None,
        attempts: int = ATTEMPTS,
        wait: Callable[[int], None] = _spread_out,
        through: tuple[type[RelabelError], ...] = (),
    ) -> T:
        """Try until nobody else is first.

        Args:
            attempt: gives None where somebody else was first.
            then: what to do where that is so each time.
            again: called before each attempt but the first, such as to read the new head.
            wait: called before that with the number of attempts so far.
            through: errors after which to try again too, but for the last time.

        Raises:
            RelabelError: `busy`, else `error`, where somebody else was first each time.
        """
        for number in range(attempts):
            if number:
                wait(number)
            try:
                if number:
                    again()
                done = attempt()
            except through:
                if number == attempts - 1:
                    raise
                continue
            if done is not None:
                return done
        raise (self.busy or self.error)(f"{self.repo_id}: {attempts} times somebody else was first. {then}")

    def tag(self, name: str, commit: str) -> bool:
        """Tag a commit. False where the tag is there already.

        Raises:
            ReleaseError: somebody made a tag of that name for another commit.
        """
        from huggingface_hub.errors import HfHubHTTPError

        with self.errors():
            try:
                self.api.create_tag(self.repo_id, tag=name, revision=commit, repo_type=self.repo_type)
                return True
            except HfHubHTTPError as error:
                if status_of(error) != 409:
                    raise
            refs = self.api.list_repo_refs(self.repo_id, repo_type=self.repo_type)
        if {tag.name: tag.target_commit for tag in refs.tags}.get(name) not in (None, commit):
            raise self.error(
                f"{self.repo_id}: commit {commit} holds {name}, but somebody made a tag of that name for another commit"
                f" just now. Push again with another {argument('tag')}."
            )
        return False

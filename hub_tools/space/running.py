"""What a running app holds: the open release, the adjudication and the comparisons.

All are opened when they are first asked for, so that the server answers at once, and a release that cannot be opened is
tried again later: its pages say why.
"""

from __future__ import annotations

from pathlib import Path

from hf_relabel.builders.errors import ConfigError
from hf_relabel.hub_tools.hub.source import HubLocation
from hf_relabel.hub_tools.space.comparisons import Comparisons
from hf_relabel.hub_tools.space.data.browsing import Browser
from hf_relabel.hub_tools.space.data.differences import Comparison
from hf_relabel.hub_tools.space.data.overview import Overview
from hf_relabel.hub_tools.space.once import Lately, Once
from hf_relabel.hub_tools.space.people.adjudication import Adjudication
from hf_relabel.hub_tools.space.people.allowed import Permission
from hf_relabel.hub_tools.space.people.sign_in import SignIn
from hf_relabel.hub_tools.space.settings import SpaceSettings, is_on_hub

MOST_VERSIONS = 100


class Running:
    """The parts of a running app. Safe to use from several threads."""

    def __init__(self, settings: SpaceSettings) -> None:
        self.settings = settings
        self._browser = Once(self._open_browser)
        self._adjudication = Once(self._open_adjudication)
        self._sign_in = Once(lambda: SignIn(settings, self.browser().repo_id))
        self._versions = Lately(self._read_versions)
        self._overview = Once(lambda: self.browser().overview(prices=settings.prices))
        self._comparisons = Comparisons()

    def browser(self) -> Browser:
        """The release.

        Raises:
            ReleaseError, BuildError: it cannot be opened.
        """
        return self._browser.get()

    def overview(self) -> Overview:
        """What the release says of itself, with what its judges cost where prices are known.

        Raises:
            ReleaseError, BuildError: it cannot be opened.
        """
        return self._overview.get()

    def adjudication(self) -> Adjudication:
        """People's answers.

        Raises:
            RelabelError: the release or the answers cannot be opened.
        """
        return self._adjudication.get()

    def who(self, request: object) -> Permission:
        """Who sent a request, and whether they may write."""
        return self._sign_in.get().who(request)

    def versions(self) -> list[str]:
        """The tags of the release's data set, the newest first; none for a folder."""
        return self._versions.get()

    def comparison(self, before: str, after: str, request: object = None) -> Comparison:
        """The comparison of two releases, begun unless it is there.

        Args:
            before, after: a version of this release, or, as far as `_location` lets them be, other releases.
            request: of whoever asks. On a Space everybody may compare the versions of its release, which are few;
                reading anything else from its first row to its last is for those who may write.

        Raises:
            ConfigError: there is nothing of that name that may be opened here, or by them, or too much is being
                compared already.
            ReleaseError, BuildError: a side cannot be opened.
        """
        sides = self._location(before), self._location(after)
        is_known = not self.settings.is_space or {before.strip(), after.strip()} <= set(self.versions())
        if not is_known and not self.who(request).may_write:
            raise ConfigError(
                "Everybody can compare the versions in the lists, anything else only people who may answer here. Sign"
                " in on the page Adjudicate."
            )
        # The server's token may read what a visitor may not, so it only opens the release's own data set.
        is_own = not self.settings.is_space or all(self._is_own(side) for side in sides)
        token = self.settings.token if is_own else False
        return self._comparisons.get(sides, lambda: Comparison.start(*sides, token=token))

    def _location(self, text: str) -> str:
        """A version or a release as somebody wrote it, as a location that may be opened."""
        name = text.strip()
        repo_id = self.browser().repo_id
        if not name:
            raise ConfigError("Name two versions or releases to compare.")
        if repo_id is not None and "/" not in name:
            return f"{repo_id}@{name}"
        if self.settings.is_space and not is_on_hub(name):
            raise ConfigError(
                "Give a version of this release, or a data set on the Hub: user/repo or user/repo@v1.0.0."
            )
        return name

    def _is_own(self, location: str) -> bool:
        hub = HubLocation.parse(location)
        return hub is not None and hub.repo_id == self.browser().repo_id

    def _open_browser(self) -> Browser:
        settings = self.settings
        return Browser.open(settings.release, revision=settings.revision, token=settings.token)

    def _open_adjudication(self) -> Adjudication:
        settings = self.settings
        return Adjudication.open(
            self.browser(),
            Path(settings.answers),
            size=settings.sample,
            seed=settings.seed,
            token=settings.token,
        )

    def _read_versions(self) -> list[str]:
        from huggingface_hub import HfApi

        from hf_relabel.hub_tools.hub.errors import hub_errors

        repo_id = self.browser().repo_id
        if repo_id is None:
            return []
        with hub_errors(repo_id, None, self.settings.token):
            refs = HfApi(token=self.settings.token).list_repo_refs(repo_id, repo_type="dataset")
        return _newest_first([tag.name for tag in refs.tags])[:MOST_VERSIONS]

    def close(self) -> None:
        """Send the answers that are not on the Hub yet, and stop."""
        adjudication = self._adjudication.closed()
        if adjudication is not None:
            adjudication.close()
        self._comparisons.close()
        browser = self._browser.closed()
        if browser is not None:
            browser.close()


def _newest_first(tags: list[str]) -> list[str]:
    """Versions from the highest down, then other tags."""
    from hf_relabel.hub_tools.releases.versions import Version

    versions = {tag: version for tag in tags if (version := Version.parse(tag))}
    return sorted(versions, key=lambda tag: versions[tag], reverse=True) + sorted(set(tags) - set(versions))

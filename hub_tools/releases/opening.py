"""Opening a release by name: a folder, or a repository on the Hub at a version."""

from __future__ import annotations

from pathlib import Path

from hf_relabel.builders.configs.manifest import MANIFEST_NAME, read_manifest
from hf_relabel.builders.configs.release import Release, release_from_folder
from hf_relabel.builders.errors import ReleaseError
from hf_relabel.builders.messages.expecting import PATH, expects
from hf_relabel.hub_tools.hub.errors import hub_errors
from hf_relabel.hub_tools.hub.source import HubLocation


@expects(location=PATH)
def open_release(
    location: str | Path, *, revision: str | None = None, token: str | bool | None = None, verify: bool = False
) -> Release:
    """Open a release for reading. Files of the Hub are downloaded into its cache, each when its turn comes.

    Example:
            release = open_release("user/train-relabeled@v1.0.0")
            print(release.manifest["verdicts"]["total"]["candidates"])

    Args:
        location: a folder that was built or pulled, `user/repo`, or `user/repo@revision`.
        revision: a tag (`v1.0.0`), branch or commit; None is the main branch. It is pinned to its commit at once.
        token: None takes the stored token or `HF_TOKEN`, False sends none.
        verify: check the files of a folder against the manifest. Those of the Hub are checked by the client.

    Raises:
        ReleaseError: there is no such release, or it may not be read.
        BuildError: the folder was not written by hf-relabel, or a file is not what its manifest says.
    """
    if Path(location).is_dir():
        return release_from_folder(Path(location), verify=verify)
    hub = HubLocation.parse(str(location))
    if hub is None or hub.config is not None:
        raise ReleaseError(
            f"{location}: neither a built folder nor a release on the Hub (user/repo or user/repo@v1.0.0)."
        )
    return _open_hub_release(hub.repo_id, revision or hub.revision, token)


def is_on_the_hub(repo_id: str, revision: str | None) -> bool:
    """Whether a data set on the Hub is a release: it has a manifest. Asks the Hub once.

    Raises:
        ReleaseError: there is no such data set, or it may not be read.
    """
    from hf_relabel.hub_tools.hub.api import HubApi

    with hub_errors(repo_id, revision, None):
        return bool(HubApi().file_exists(repo_id, MANIFEST_NAME, repo_type="dataset", revision=revision))


def _open_hub_release(repo_id: str, revision: str | None, token: str | bool | None) -> Release:
    from hf_relabel.hub_tools.hub.api import HubApi

    name = f"{repo_id}@{revision}" if revision else repo_id
    api = HubApi(token=token)
    with hub_errors(repo_id, revision, token):
        info = api.dataset_info(repo_id, revision=revision)
    sha = str(info.sha)
    names = {sibling.rfilename for sibling in info.siblings or []}

    def open_file(path: str) -> Path:
        with hub_errors(repo_id, revision, token):
            return Path(api.hf_hub_download(repo_id, path, repo_type="dataset", revision=sha))

    if MANIFEST_NAME not in names:
        raise ReleaseError(f"{name} has no {MANIFEST_NAME}: it is no release of hf-relabel.")
    manifest = read_manifest(open_file(MANIFEST_NAME).parent)
    missing = sorted(path for path in manifest["files"] if path not in names)
    if missing:
        raise ReleaseError(f"{name}: the file {missing[0]!r} of its manifest is missing on the Hub.")
    return Release(name, sha, manifest, open_file)

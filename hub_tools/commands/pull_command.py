"""`hf relabel pull`."""

from __future__ import annotations

import click

from hf_relabel.builders.messages.counted import counted
from hf_relabel.hub_tools.commands.common import (
    FOLDER,
    json_option,
    print_json,
)
from hf_relabel.hub_tools.commands.interrupting import goes_on
from hf_relabel.hub_tools.commands.progress import progress_bar

EPILOG = """\b
Examples:
  hf relabel pull user/train-relabeled@v1.0.0 --out cleaned
  hf relabel pull user/train-relabeled --out cleaned --config original --config verdicts
\b
Then:
  load_dataset("cleaned", "relabel")"""


@click.command("pull", epilog=EPILOG)
@click.argument("release", metavar="RELEASE")
@click.option("--out", required=True, type=FOLDER, help="Folder to write.")
@click.option("--config", "configs", multiple=True, metavar="NAME", help="Only this config. May be repeated.")
@json_option
def command(release: str, out: str, configs: tuple[str, ...], as_json: bool) -> None:
    """Download RELEASE (user/repo or user/repo@revision) and check every file against its manifest.

    A pull that was cut short goes on where it was. The folder appears complete or not at all.
    """
    from hf_relabel.hub_tools.releases.pull import pull
    from hf_relabel.hub_tools.releases.shown import shown

    kept = "What was downloaded is kept: the same command again goes on from there."
    with goes_on(lambda: kept), progress_bar("pulling", unit="B") as bar:
        bar.unit_scale = True

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = pull(release, out, configs=configs, progress=show)
    if as_json:
        print_json(report.to_dict())
        return
    version = f" ({shown(report.version)})" if report.version else ""
    click.echo(
        f"{report.repo_id}@{report.revision[:12]}{version} is in {out}: {counted(report.files, 'file')} of"
        f" {counted(report.bytes, 'byte')},"
        f" all as its manifest says. {report.downloaded:,} bytes were downloaded."
    )
    config = report.default_config or ("relabel" if "relabel" in report.configs else report.configs[0])
    click.echo(f'\nLoad it with: load_dataset("{out}", "{config}")')

"""How many rows and passages went where."""

from __future__ import annotations

from dataclasses import dataclass, field

from hf_relabel.builders.configs.arrow_batches import Batch
from hf_relabel.builders.configs.layout import Layout
from hf_relabel.builders.configs.manifest import ConfigCounts, VerdictCounts
from hf_relabel.builders.configs.views.view import ViewCounts


@dataclass(slots=True)
class Counts:
    """How many rows and passages of all went where."""

    configs: dict[str, dict[str, ConfigCounts]]
    rows: int = 0
    first_row: int = 0
    verdicts: dict[str, VerdictCounts] = field(default_factory=dict)
    views: dict[str, ViewCounts] = field(default_factory=dict)

    @classmethod
    def none(cls, layout: Layout) -> Counts:
        configs: dict[str, dict[str, ConfigCounts]] = {str(technique): {} for technique in layout.techniques}
        return cls(configs, views={view.name: ViewCounts() for view in layout.views})

    def take(self, more: Counts) -> None:
        """Add the counts of the rows that come next."""
        if not self.rows:
            self.first_row = more.first_row
        self.rows += more.rows
        for name, subsets in more.configs.items():
            own = self.configs[name]
            for subset, counts in subsets.items():
                own[subset] = ConfigCounts.summed([own[subset], counts]) if subset in own else counts
        for subset, found in more.verdicts.items():
            known = self.verdicts.get(subset)
            self.verdicts[subset] = found if known is None else VerdictCounts.summed([known, found])
        for name, view in more.views.items():
            self.views[name].take(view)

    def add(self, batch: Batch, layout: Layout) -> None:
        if not self.rows:
            self.first_row = batch.rows[0].number
        self.rows += len(batch.rows)
        for judged in batch.rows:
            subset = judged.row.subset
            for technique, change in judged.changes.items():
                self.configs[technique].setdefault(subset, ConfigCounts()).add(judged.row, change)
            self.verdicts.setdefault(subset, VerdictCounts()).add(judged.verdicts, layout.stage_names)
        for view in layout.views:
            for shown in view.shown(batch.rows):
                self.views[view.name].add(shown)

"""hf-relabel: find and relabel the false negatives among the hard negatives of retrieval training sets.

    from hf_relabel import BuildSettings, Journal, SimilarityJudge, Stage, build_configs, judge, open_source

    source = open_source("train.jsonl")
    with Journal("journal.sqlite") as journal:
        judge(source, [Stage("similarity", SimilarityJudge())], journal)
        build_configs(source, journal, BuildSettings(out="cleaned"))

Names are imported when first used, so that `import hf_relabel` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_relabel.builders.cascade import Rule, conclude
    from hf_relabel.builders.configs import BuildReport, write_configs
    from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
    from hf_relabel.builders.errors import (
        BadRow,
        BuildError,
        ConfigError,
        InputError,
        JournalError,
        JudgingStopped,
        RelabelError,
        SourceError,
    )
    from hf_relabel.builders.findings import free_findings
    from hf_relabel.builders.inspection import Inspection, inspect
    from hf_relabel.builders.job import BuildSettings, Job, load_job
    from hf_relabel.builders.journal import Journal
    from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
    from hf_relabel.builders.judges.listwise import ListwiseJudge
    from hf_relabel.builders.judges.replies import SavedRepliesJudge
    from hf_relabel.builders.judges.similarity import SimilarityJudge
    from hf_relabel.builders.planning import StagePlan, plan
    from hf_relabel.builders.relabeled_builder import RelabeledBuilder, RelabeledConfig
    from hf_relabel.builders.rows import NumberedRow, Passage, Row
    from hf_relabel.builders.sampling import Sample
    from hf_relabel.builders.sources import Source, open_source
    from hf_relabel.builders.techniques import Technique, apply
    from hf_relabel.hub_tools.building import build_configs
    from hf_relabel.hub_tools.endpoints.registry import make_endpoint
    from hf_relabel.hub_tools.endpoints.scheduler import Limits, Scheduler
    from hf_relabel.hub_tools.hub_source import open_hub_source
    from hf_relabel.hub_tools.judging import Stage, StageReport, judge, verdicts

_HOMES = {
    "BadRow": "builders.errors",
    "BuildError": "builders.errors",
    "BuildReport": "builders.configs",
    "BuildSettings": "builders.job",
    "ConfigError": "builders.errors",
    "Endpoint": "builders.endpoint",
    "EndpointError": "builders.endpoint",
    "InputError": "builders.errors",
    "Inspection": "builders.inspection",
    "Job": "builders.job",
    "Journal": "builders.journal",
    "JournalError": "builders.errors",
    "Judgement": "builders.judgements",
    "JudgingStopped": "builders.errors",
    "Label": "builders.judgements",
    "Limits": "hub_tools.endpoints.scheduler",
    "ListwiseJudge": "builders.judges.listwise",
    "NumberedRow": "builders.rows",
    "Outcome": "builders.judgements",
    "Passage": "builders.rows",
    "RelabelError": "builders.errors",
    "RelabeledBuilder": "builders.relabeled_builder",
    "RelabeledConfig": "builders.relabeled_builder",
    "Reply": "builders.endpoint",
    "Request": "builders.endpoint",
    "Row": "builders.rows",
    "Rule": "builders.cascade",
    "Sample": "builders.sampling",
    "SavedRepliesJudge": "builders.judges.replies",
    "Scheduler": "hub_tools.endpoints.scheduler",
    "SimilarityJudge": "builders.judges.similarity",
    "Source": "builders.sources",
    "SourceError": "builders.errors",
    "Stage": "hub_tools.judging",
    "StagePlan": "builders.planning",
    "StageReport": "hub_tools.judging",
    "Technique": "builders.techniques",
    "Verdict": "builders.judgements",
    "apply": "builders.techniques",
    "build_configs": "hub_tools.building",
    "conclude": "builders.cascade",
    "free_findings": "builders.findings",
    "inspect": "builders.inspection",
    "judge": "hub_tools.judging",
    "load_job": "builders.job",
    "make_endpoint": "hub_tools.endpoints.registry",
    "open_hub_source": "hub_tools.hub_source",
    "open_source": "builders.sources",
    "plan": "builders.planning",
    "verdicts": "hub_tools.judging",
    "write_configs": "builders.configs",
}

__all__ = [
    "BadRow",
    "BuildError",
    "BuildReport",
    "BuildSettings",
    "ConfigError",
    "Endpoint",
    "EndpointError",
    "InputError",
    "Inspection",
    "Job",
    "Journal",
    "JournalError",
    "Judgement",
    "JudgingStopped",
    "Label",
    "Limits",
    "ListwiseJudge",
    "NumberedRow",
    "Outcome",
    "Passage",
    "RelabelError",
    "RelabeledBuilder",
    "RelabeledConfig",
    "Reply",
    "Request",
    "Row",
    "Rule",
    "Sample",
    "SavedRepliesJudge",
    "Scheduler",
    "SimilarityJudge",
    "Source",
    "SourceError",
    "Stage",
    "StagePlan",
    "StageReport",
    "Technique",
    "Verdict",
    "apply",
    "build_configs",
    "conclude",
    "free_findings",
    "inspect",
    "judge",
    "load_job",
    "make_endpoint",
    "open_hub_source",
    "open_source",
    "plan",
    "verdicts",
    "write_configs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

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
    from hf_relabel.builders.configs import BuildReport, Shard, write_configs
    from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
    from hf_relabel.builders.errors import (
        BadRow,
        BuildError,
        CardError,
        ConfigError,
        InputError,
        JournalError,
        JudgingStopped,
        RelabelError,
        ReleaseError,
        SourceError,
        TrainingError,
    )
    from hf_relabel.builders.findings import free_findings
    from hf_relabel.builders.inspection import Inspection, inspect
    from hf_relabel.builders.job import BuildSettings, Job, load_job
    from hf_relabel.builders.journal import Journal
    from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
    from hf_relabel.builders.judges.listwise import ListwiseJudge
    from hf_relabel.builders.judges.replies import SavedRepliesJudge
    from hf_relabel.builders.judges.similarity import SimilarityJudge
    from hf_relabel.builders.judges.truth import TruthJudge
    from hf_relabel.builders.planning import StagePlan, plan
    from hf_relabel.builders.relabeled_builder import RelabeledBuilder, RelabeledConfig
    from hf_relabel.builders.released import Release, release_from_folder
    from hf_relabel.builders.rows import NumberedRow, Passage, Row
    from hf_relabel.builders.runs import verdicts
    from hf_relabel.builders.sampling import Sample
    from hf_relabel.builders.sources import Source, open_source
    from hf_relabel.builders.techniques import Technique, apply
    from hf_relabel.cards.data_card import CardFacts, render_card
    from hf_relabel.cards.training_report import TrainingReport
    from hf_relabel.hub_tools.building import build_configs, rebuild_configs
    from hf_relabel.hub_tools.endpoints.registry import make_endpoint
    from hf_relabel.hub_tools.endpoints.scheduler import Limits, Scheduler
    from hf_relabel.hub_tools.hub_source import open_hub_source
    from hf_relabel.hub_tools.judging import Stage, StageReport, judge
    from hf_relabel.hub_tools.local_hub import LocalHub
    from hf_relabel.hub_tools.releases.diff import diff
    from hf_relabel.hub_tools.releases.log import log
    from hf_relabel.hub_tools.releases.models import push_model
    from hf_relabel.hub_tools.releases.opening import open_release
    from hf_relabel.hub_tools.releases.pull import pull
    from hf_relabel.hub_tools.releases.push import PushReport, push, push_source
    from hf_relabel.trainers.compare import CompareReport, compare
    from hf_relabel.trainers.evaluation.beir import read_beir
    from hf_relabel.trainers.evaluation.evaluator import RetrievalEvaluator, evaluate_model
    from hf_relabel.trainers.losses import MultiPositiveLoss
    from hf_relabel.trainers.prune import prune
    from hf_relabel.trainers.publishing import publish
    from hf_relabel.trainers.recipes import Recipe, load_recipe
    from hf_relabel.trainers.row_trainer import RowTrainer
    from hf_relabel.trainers.training import train
    from hf_relabel.trainers.training_data import open_training_data

_HOMES = {
    "BadRow": "builders.errors",
    "BuildError": "builders.errors",
    "BuildReport": "builders.configs",
    "BuildSettings": "builders.job",
    "CardError": "builders.errors",
    "CardFacts": "cards.data_card",
    "CompareReport": "trainers.compare",
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
    "LocalHub": "hub_tools.local_hub",
    "MultiPositiveLoss": "trainers.losses",
    "NumberedRow": "builders.rows",
    "Outcome": "builders.judgements",
    "Passage": "builders.rows",
    "PushReport": "hub_tools.releases.push",
    "Recipe": "trainers.recipes",
    "RelabelError": "builders.errors",
    "RelabeledBuilder": "builders.relabeled_builder",
    "RelabeledConfig": "builders.relabeled_builder",
    "Release": "builders.released",
    "ReleaseError": "builders.errors",
    "Reply": "builders.endpoint",
    "Request": "builders.endpoint",
    "RetrievalEvaluator": "trainers.evaluation.evaluator",
    "Row": "builders.rows",
    "RowTrainer": "trainers.row_trainer",
    "Rule": "builders.cascade",
    "Sample": "builders.sampling",
    "SavedRepliesJudge": "builders.judges.replies",
    "Scheduler": "hub_tools.endpoints.scheduler",
    "Shard": "builders.configs",
    "SimilarityJudge": "builders.judges.similarity",
    "Source": "builders.sources",
    "SourceError": "builders.errors",
    "Stage": "hub_tools.judging",
    "StagePlan": "builders.planning",
    "StageReport": "hub_tools.judging",
    "Technique": "builders.techniques",
    "TrainingError": "builders.errors",
    "TrainingReport": "cards.training_report",
    "TruthJudge": "builders.judges.truth",
    "Verdict": "builders.judgements",
    "apply": "builders.techniques",
    "build_configs": "hub_tools.building",
    "compare": "trainers.compare",
    "conclude": "builders.cascade",
    "diff": "hub_tools.releases.diff",
    "evaluate_model": "trainers.evaluation.evaluator",
    "free_findings": "builders.findings",
    "inspect": "builders.inspection",
    "judge": "hub_tools.judging",
    "load_job": "builders.job",
    "load_recipe": "trainers.recipes",
    "log": "hub_tools.releases.log",
    "make_endpoint": "hub_tools.endpoints.registry",
    "open_hub_source": "hub_tools.hub_source",
    "open_release": "hub_tools.releases.opening",
    "open_source": "builders.sources",
    "open_training_data": "trainers.training_data",
    "plan": "builders.planning",
    "prune": "trainers.prune",
    "publish": "trainers.publishing",
    "pull": "hub_tools.releases.pull",
    "push": "hub_tools.releases.push",
    "push_model": "hub_tools.releases.models",
    "push_source": "hub_tools.releases.push",
    "read_beir": "trainers.evaluation.beir",
    "rebuild_configs": "hub_tools.building",
    "release_from_folder": "builders.released",
    "render_card": "cards.data_card",
    "train": "trainers.training",
    "verdicts": "builders.runs",
    "write_configs": "builders.configs",
}

__all__ = [
    "BadRow",
    "BuildError",
    "BuildReport",
    "BuildSettings",
    "CardError",
    "CardFacts",
    "CompareReport",
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
    "LocalHub",
    "MultiPositiveLoss",
    "NumberedRow",
    "Outcome",
    "Passage",
    "PushReport",
    "Recipe",
    "RelabelError",
    "RelabeledBuilder",
    "RelabeledConfig",
    "Release",
    "ReleaseError",
    "Reply",
    "Request",
    "RetrievalEvaluator",
    "Row",
    "RowTrainer",
    "Rule",
    "Sample",
    "SavedRepliesJudge",
    "Scheduler",
    "Shard",
    "SimilarityJudge",
    "Source",
    "SourceError",
    "Stage",
    "StagePlan",
    "StageReport",
    "Technique",
    "TrainingError",
    "TrainingReport",
    "TruthJudge",
    "Verdict",
    "apply",
    "build_configs",
    "compare",
    "conclude",
    "diff",
    "evaluate_model",
    "free_findings",
    "inspect",
    "judge",
    "load_job",
    "load_recipe",
    "log",
    "make_endpoint",
    "open_hub_source",
    "open_release",
    "open_source",
    "open_training_data",
    "plan",
    "prune",
    "publish",
    "pull",
    "push",
    "push_model",
    "push_source",
    "read_beir",
    "rebuild_configs",
    "release_from_folder",
    "render_card",
    "train",
    "verdicts",
    "write_configs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

"""hf-relabel: find and relabel the false negatives among the hard negatives of retrieval training sets.

    from hf_relabel import relabel

    found = relabel("train.jsonl", endpoint="http://127.0.0.1:8080")  # found["relabel"], found["verdicts"]

The same in steps, each of which takes what the one before it wrote:

    from hf_relabel import build_configs, judge, push

    judge("train.jsonl", "listwise", "journal.sqlite", endpoint="http://127.0.0.1:8080")
    build_configs("train.jsonl", "journal.sqlite", "cleaned")
    push("cleaned", "user/train-relabeled", license="cc-by-4.0")

Names are imported when first used, so that `import hf_relabel` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_relabel.builders.audit.answers import read_answers
    from hf_relabel.builders.audit.drawing import calibrate
    from hf_relabel.builders.audit.report import AuditReport, audit_report
    from hf_relabel.builders.audit.sampling import AuditSample
    from hf_relabel.builders.calibration import Calibration, LabelledScore
    from hf_relabel.builders.cascade import Rule, conclude
    from hf_relabel.builders.combining import Combine
    from hf_relabel.builders.configs import BuildReport, Shard, write_configs
    from hf_relabel.builders.endpoint import Endpoint, EndpointError, Reply, Request
    from hf_relabel.builders.errors import (
        BadRow,
        BuildError,
        CardError,
        ConfigError,
        InputError,
        JobError,
        JournalError,
        JudgingStopped,
        RelabelError,
        ReleaseError,
        SourceError,
        TrainingError,
    )
    from hf_relabel.builders.findings import free_findings
    from hf_relabel.builders.inspection import Inspection
    from hf_relabel.builders.job import BuildSettings, Job
    from hf_relabel.builders.job_reading import load_job
    from hf_relabel.builders.journal import Journal
    from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
    from hf_relabel.builders.judges.cross_encoder import CrossEncoderJudge
    from hf_relabel.builders.judges.listwise import ListwiseJudge
    from hf_relabel.builders.judges.pointwise import PointwiseJudge
    from hf_relabel.builders.judges.ranking import RankingJudge
    from hf_relabel.builders.judges.replies import SavedRepliesJudge
    from hf_relabel.builders.judges.similarity import SimilarityJudge
    from hf_relabel.builders.judges.spans import SpanJudge
    from hf_relabel.builders.judges.student import StudentJudge
    from hf_relabel.builders.judges.truth import TruthJudge
    from hf_relabel.builders.judging_report import judging_report
    from hf_relabel.builders.mining.report import MiningReport
    from hf_relabel.builders.planning import JobPlan, StagePlan
    from hf_relabel.builders.relabeled_builder import RelabeledBuilder, RelabeledConfig
    from hf_relabel.builders.released import Release, release_from_folder
    from hf_relabel.builders.rows import NumberedRow, Passage, Row
    from hf_relabel.builders.sampling import Sample
    from hf_relabel.builders.sources import Source
    from hf_relabel.builders.techniques import Technique, apply
    from hf_relabel.cards.data_card import CardFacts, render_card
    from hf_relabel.cards.training_report import TrainingReport
    from hf_relabel.hub_tools.building import build_configs, rebuild_configs
    from hf_relabel.hub_tools.endpoints.registry import make_endpoint
    from hf_relabel.hub_tools.endpoints.scheduler import Limits, Scheduler
    from hf_relabel.hub_tools.hub_source import open_hub_source, open_source
    from hf_relabel.hub_tools.judging import StageReport, judge, search_suspects
    from hf_relabel.hub_tools.local_hub import LocalHub
    from hf_relabel.hub_tools.looking import draw_audit, inspect, judged_rows, verdicts
    from hf_relabel.hub_tools.mining import mine
    from hf_relabel.hub_tools.planning import plan
    from hf_relabel.hub_tools.relabeling import relabel
    from hf_relabel.hub_tools.releases.diff import diff
    from hf_relabel.hub_tools.releases.log import log
    from hf_relabel.hub_tools.releases.models import push_model
    from hf_relabel.hub_tools.releases.opening import open_release
    from hf_relabel.hub_tools.releases.pull import pull
    from hf_relabel.hub_tools.releases.push import PushReport, push, push_source
    from hf_relabel.hub_tools.stages import Member, Stage
    from hf_relabel.trainers.compare import CompareReport, compare
    from hf_relabel.trainers.evaluation.beir import read_beir
    from hf_relabel.trainers.evaluation.evaluator import RetrievalEvaluator, evaluate_model
    from hf_relabel.trainers.judge_bench import judge_figures
    from hf_relabel.trainers.judge_student import StudentExample, train_student
    from hf_relabel.trainers.losses import MultiPositiveLoss
    from hf_relabel.trainers.prune import prune
    from hf_relabel.trainers.publishing import publish
    from hf_relabel.trainers.recipes import Recipe, load_recipe
    from hf_relabel.trainers.row_trainer import RowTrainer
    from hf_relabel.trainers.training import train
    from hf_relabel.trainers.training_data import open_training_data

_HOMES = {
    "AuditReport": "builders.audit.report",
    "AuditSample": "builders.audit.sampling",
    "BadRow": "builders.errors",
    "BuildError": "builders.errors",
    "BuildReport": "builders.configs",
    "BuildSettings": "builders.job",
    "Calibration": "builders.calibration",
    "CardError": "builders.errors",
    "CardFacts": "cards.data_card",
    "Combine": "builders.combining",
    "CompareReport": "trainers.compare",
    "ConfigError": "builders.errors",
    "CrossEncoderJudge": "builders.judges.cross_encoder",
    "Endpoint": "builders.endpoint",
    "EndpointError": "builders.endpoint",
    "InputError": "builders.errors",
    "Inspection": "builders.inspection",
    "Job": "builders.job",
    "JobError": "builders.errors",
    "JobPlan": "builders.planning",
    "Journal": "builders.journal",
    "JournalError": "builders.errors",
    "Judgement": "builders.judgements",
    "JudgingStopped": "builders.errors",
    "Label": "builders.judgements",
    "LabelledScore": "builders.calibration",
    "Limits": "hub_tools.endpoints.scheduler",
    "ListwiseJudge": "builders.judges.listwise",
    "LocalHub": "hub_tools.local_hub",
    "Member": "hub_tools.stages",
    "MiningReport": "builders.mining.report",
    "MultiPositiveLoss": "trainers.losses",
    "NumberedRow": "builders.rows",
    "Outcome": "builders.judgements",
    "Passage": "builders.rows",
    "PointwiseJudge": "builders.judges.pointwise",
    "PushReport": "hub_tools.releases.push",
    "RankingJudge": "builders.judges.ranking",
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
    "SpanJudge": "builders.judges.spans",
    "Stage": "hub_tools.stages",
    "StagePlan": "builders.planning",
    "StageReport": "hub_tools.judging",
    "StudentExample": "trainers.judge_student",
    "StudentJudge": "builders.judges.student",
    "Technique": "builders.techniques",
    "TrainingError": "builders.errors",
    "TrainingReport": "cards.training_report",
    "TruthJudge": "builders.judges.truth",
    "Verdict": "builders.judgements",
    "apply": "builders.techniques",
    "audit_report": "builders.audit.report",
    "build_configs": "hub_tools.building",
    "calibrate": "builders.audit.drawing",
    "compare": "trainers.compare",
    "conclude": "builders.cascade",
    "diff": "hub_tools.releases.diff",
    "draw_audit": "hub_tools.looking",
    "evaluate_model": "trainers.evaluation.evaluator",
    "free_findings": "builders.findings",
    "inspect": "hub_tools.looking",
    "judge": "hub_tools.judging",
    "judge_figures": "trainers.judge_bench",
    "judged_rows": "hub_tools.looking",
    "judging_report": "builders.judging_report",
    "load_job": "builders.job_reading",
    "load_recipe": "trainers.recipes",
    "log": "hub_tools.releases.log",
    "make_endpoint": "hub_tools.endpoints.registry",
    "mine": "hub_tools.mining",
    "open_hub_source": "hub_tools.hub_source",
    "open_release": "hub_tools.releases.opening",
    "open_source": "hub_tools.hub_source",
    "open_training_data": "trainers.training_data",
    "plan": "hub_tools.planning",
    "prune": "trainers.prune",
    "publish": "trainers.publishing",
    "pull": "hub_tools.releases.pull",
    "push": "hub_tools.releases.push",
    "push_model": "hub_tools.releases.models",
    "push_source": "hub_tools.releases.push",
    "read_answers": "builders.audit.answers",
    "read_beir": "trainers.evaluation.beir",
    "rebuild_configs": "hub_tools.building",
    "relabel": "hub_tools.relabeling",
    "release_from_folder": "builders.released",
    "render_card": "cards.data_card",
    "search_suspects": "hub_tools.judging",
    "train": "trainers.training",
    "train_student": "trainers.judge_student",
    "verdicts": "hub_tools.looking",
    "write_configs": "builders.configs",
}

__all__ = [
    "AuditReport",
    "AuditSample",
    "BadRow",
    "BuildError",
    "BuildReport",
    "BuildSettings",
    "Calibration",
    "CardError",
    "CardFacts",
    "Combine",
    "CompareReport",
    "ConfigError",
    "CrossEncoderJudge",
    "Endpoint",
    "EndpointError",
    "InputError",
    "Inspection",
    "Job",
    "JobError",
    "JobPlan",
    "Journal",
    "JournalError",
    "Judgement",
    "JudgingStopped",
    "Label",
    "LabelledScore",
    "Limits",
    "ListwiseJudge",
    "LocalHub",
    "Member",
    "MiningReport",
    "MultiPositiveLoss",
    "NumberedRow",
    "Outcome",
    "Passage",
    "PointwiseJudge",
    "PushReport",
    "RankingJudge",
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
    "SpanJudge",
    "Stage",
    "StagePlan",
    "StageReport",
    "StudentExample",
    "StudentJudge",
    "Technique",
    "TrainingError",
    "TrainingReport",
    "TruthJudge",
    "Verdict",
    "apply",
    "audit_report",
    "build_configs",
    "calibrate",
    "compare",
    "conclude",
    "diff",
    "draw_audit",
    "evaluate_model",
    "free_findings",
    "inspect",
    "judge",
    "judge_figures",
    "judged_rows",
    "judging_report",
    "load_job",
    "load_recipe",
    "log",
    "make_endpoint",
    "mine",
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
    "read_answers",
    "read_beir",
    "rebuild_configs",
    "relabel",
    "release_from_folder",
    "render_card",
    "search_suspects",
    "train",
    "train_student",
    "verdicts",
    "write_configs",
]


__version__: str
"""From the installed package's metadata, which pyproject.toml gives."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        from hf_relabel.builders.extras import missing

        raise missing(error, name=name) or error from None
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hf-relabel")
    except PackageNotFoundError:  # the files alone, put on the path by hand
        return "unknown"

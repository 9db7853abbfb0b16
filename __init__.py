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
    from hf_relabel.builders.audit.draw import calibrate
    from hf_relabel.builders.audit.report import AuditReport, audit_report
    from hf_relabel.builders.audit.sample import AuditSample
    from hf_relabel.builders.cascade.calibration import Calibration
    from hf_relabel.builders.cascade.combining import Combine
    from hf_relabel.builders.cascade.fitting import LabelledScore
    from hf_relabel.builders.cascade.report import judging_report
    from hf_relabel.builders.cascade.rules import Rule, conclude
    from hf_relabel.builders.configs.config_writer import Shard
    from hf_relabel.builders.configs.relabeled_builder import RelabeledBuilder, RelabeledConfig
    from hf_relabel.builders.configs.release import Release, release_from_folder
    from hf_relabel.builders.configs.writing import BuildReport, write_configs
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
    from hf_relabel.builders.job.job_file import Job
    from hf_relabel.builders.job.reading import load_job
    from hf_relabel.builders.job.steps import BuildSettings
    from hf_relabel.builders.journal.store import Journal
    from hf_relabel.builders.judgements import Judgement, Label, Outcome, Verdict
    from hf_relabel.builders.judges.offline.cross_encoder import CrossEncoderJudge
    from hf_relabel.builders.judges.offline.similarity import SimilarityJudge
    from hf_relabel.builders.judges.offline.student import StudentJudge
    from hf_relabel.builders.judges.offline.truth import TruthJudge
    from hf_relabel.builders.judges.prompted.listwise import ListwiseJudge
    from hf_relabel.builders.judges.prompted.pointwise import PointwiseJudge
    from hf_relabel.builders.judges.prompted.ranking import RankingJudge
    from hf_relabel.builders.judges.prompted.reranking import RerankJudge
    from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
    from hf_relabel.builders.judges.prompted.spans import SpanJudge
    from hf_relabel.builders.mining.report import MiningReport
    from hf_relabel.builders.planning.plan import JobPlan, StagePlan
    from hf_relabel.builders.rows import NumberedRow, Passage, Row
    from hf_relabel.builders.sources import Source
    from hf_relabel.builders.sources.findings import free_findings
    from hf_relabel.builders.sources.inspection import Inspection
    from hf_relabel.builders.sources.samples import Sample
    from hf_relabel.builders.techniques import Technique, apply
    from hf_relabel.cards.card_facts import CardFacts
    from hf_relabel.cards.data_card import render_card
    from hf_relabel.cards.training_report import TrainingReport
    from hf_relabel.hub_tools.building.rebuild import rebuild_configs
    from hf_relabel.hub_tools.building.run import build_configs
    from hf_relabel.hub_tools.endpoints.registry import make_endpoint
    from hf_relabel.hub_tools.endpoints.scheduling.scheduler import Limits, Scheduler
    from hf_relabel.hub_tools.hub.source import open_hub_source, open_source
    from hf_relabel.hub_tools.judging.plan import plan
    from hf_relabel.hub_tools.judging.run import judge
    from hf_relabel.hub_tools.judging.stage_report import StageReport
    from hf_relabel.hub_tools.judging.stages import Member, Stage
    from hf_relabel.hub_tools.judging.suspects import search_suspects
    from hf_relabel.hub_tools.local_hub import LocalHub
    from hf_relabel.hub_tools.looking import draw_audit, inspect, judged_rows, verdicts
    from hf_relabel.hub_tools.mining import mine
    from hf_relabel.hub_tools.relabeling import relabel
    from hf_relabel.hub_tools.releases.diff import diff
    from hf_relabel.hub_tools.releases.log import log
    from hf_relabel.hub_tools.releases.models import push_model
    from hf_relabel.hub_tools.releases.opening import open_release
    from hf_relabel.hub_tools.releases.pull import pull
    from hf_relabel.hub_tools.releases.push import PushReport, push, push_source
    from hf_relabel.trainers.comparing.compare import CompareReport, compare
    from hf_relabel.trainers.comparing.prune import prune
    from hf_relabel.trainers.data.training_data import open_training_data
    from hf_relabel.trainers.evaluation.beir import read_beir
    from hf_relabel.trainers.evaluation.evaluator import RetrievalEvaluator, evaluate_model
    from hf_relabel.trainers.guide import Guide
    from hf_relabel.trainers.losses import MultiPositiveLoss
    from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe
    from hf_relabel.trainers.row_trainer import RowTrainer
    from hf_relabel.trainers.students.judge_bench import judge_figures
    from hf_relabel.trainers.students.judge_student import StudentExample, train_student
    from hf_relabel.trainers.training.plan import plan_training
    from hf_relabel.trainers.training.publishing import publish
    from hf_relabel.trainers.training.run import train

_HOMES = {
    "AuditReport": "builders.audit.report",
    "AuditSample": "builders.audit.sample",
    "BadRow": "builders.errors",
    "BuildError": "builders.errors",
    "BuildReport": "builders.configs.writing",
    "BuildSettings": "builders.job.steps",
    "Calibration": "builders.cascade.calibration",
    "CardError": "builders.errors",
    "CardFacts": "cards.card_facts",
    "Combine": "builders.cascade.combining",
    "CompareReport": "trainers.comparing.compare",
    "ConfigError": "builders.errors",
    "CrossEncoderJudge": "builders.judges.offline.cross_encoder",
    "Endpoint": "builders.endpoint",
    "EndpointError": "builders.endpoint",
    "Guide": "trainers.guide",
    "InputError": "builders.errors",
    "Inspection": "builders.sources.inspection",
    "Job": "builders.job.job_file",
    "JobError": "builders.errors",
    "JobPlan": "builders.planning.plan",
    "Journal": "builders.journal.store",
    "JournalError": "builders.errors",
    "Judgement": "builders.judgements",
    "JudgingStopped": "builders.errors",
    "Label": "builders.judgements",
    "LabelledScore": "builders.cascade.fitting",
    "Limits": "hub_tools.endpoints.scheduling.scheduler",
    "ListwiseJudge": "builders.judges.prompted.listwise",
    "LocalHub": "hub_tools.local_hub",
    "Member": "hub_tools.judging.stages",
    "MiningReport": "builders.mining.report",
    "MultiPositiveLoss": "trainers.losses",
    "NumberedRow": "builders.rows",
    "Outcome": "builders.judgements",
    "Passage": "builders.rows",
    "PointwiseJudge": "builders.judges.prompted.pointwise",
    "PushReport": "hub_tools.releases.push",
    "RankingJudge": "builders.judges.prompted.ranking",
    "RerankJudge": "builders.judges.prompted.reranking",
    "Recipe": "trainers.recipes.recipe",
    "RelabelError": "builders.errors",
    "RelabeledBuilder": "builders.configs.relabeled_builder",
    "RelabeledConfig": "builders.configs.relabeled_builder",
    "Release": "builders.configs.release",
    "ReleaseError": "builders.errors",
    "Reply": "builders.endpoint",
    "Request": "builders.endpoint",
    "RetrievalEvaluator": "trainers.evaluation.evaluator",
    "Row": "builders.rows",
    "RowTrainer": "trainers.row_trainer",
    "Rule": "builders.cascade.rules",
    "Sample": "builders.sources.samples",
    "SavedRepliesJudge": "builders.judges.prompted.saved_replies",
    "Scheduler": "hub_tools.endpoints.scheduling.scheduler",
    "Shard": "builders.configs.config_writer",
    "SimilarityJudge": "builders.judges.offline.similarity",
    "Source": "builders.sources",
    "SourceError": "builders.errors",
    "SpanJudge": "builders.judges.prompted.spans",
    "Stage": "hub_tools.judging.stages",
    "StagePlan": "builders.planning.plan",
    "StageReport": "hub_tools.judging.stage_report",
    "StudentExample": "trainers.students.judge_student",
    "StudentJudge": "builders.judges.offline.student",
    "Technique": "builders.techniques",
    "TrainingError": "builders.errors",
    "TrainingReport": "cards.training_report",
    "TruthJudge": "builders.judges.offline.truth",
    "Verdict": "builders.judgements",
    "apply": "builders.techniques",
    "audit_report": "builders.audit.report",
    "build_configs": "hub_tools.building.run",
    "calibrate": "builders.audit.draw",
    "compare": "trainers.comparing.compare",
    "conclude": "builders.cascade.rules",
    "diff": "hub_tools.releases.diff",
    "draw_audit": "hub_tools.looking",
    "evaluate_model": "trainers.evaluation.evaluator",
    "free_findings": "builders.sources.findings",
    "inspect": "hub_tools.looking",
    "judge": "hub_tools.judging.run",
    "judge_figures": "trainers.students.judge_bench",
    "judged_rows": "hub_tools.looking",
    "judging_report": "builders.cascade.report",
    "load_job": "builders.job.reading",
    "load_recipe": "trainers.recipes.recipe",
    "log": "hub_tools.releases.log",
    "make_endpoint": "hub_tools.endpoints.registry",
    "mine": "hub_tools.mining",
    "open_hub_source": "hub_tools.hub.source",
    "open_release": "hub_tools.releases.opening",
    "open_source": "hub_tools.hub.source",
    "open_training_data": "trainers.data.training_data",
    "plan": "hub_tools.judging.plan",
    "plan_training": "trainers.training.plan",
    "prune": "trainers.comparing.prune",
    "publish": "trainers.training.publishing",
    "pull": "hub_tools.releases.pull",
    "push": "hub_tools.releases.push",
    "push_model": "hub_tools.releases.models",
    "push_source": "hub_tools.releases.push",
    "read_answers": "builders.audit.answers",
    "read_beir": "trainers.evaluation.beir",
    "rebuild_configs": "hub_tools.building.rebuild",
    "relabel": "hub_tools.relabeling",
    "release_from_folder": "builders.configs.release",
    "render_card": "cards.data_card",
    "search_suspects": "hub_tools.judging.suspects",
    "train": "trainers.training.run",
    "train_student": "trainers.students.judge_student",
    "verdicts": "hub_tools.looking",
    "write_configs": "builders.configs.writing",
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
    "Guide",
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
    "RerankJudge",
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
    "plan_training",
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
        from hf_relabel.builders.messages.extras import missing

        raise missing(error, name=name) or error from None
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hf-relabel")
    except PackageNotFoundError:  # the files alone, put on the path by hand
        return "unknown"

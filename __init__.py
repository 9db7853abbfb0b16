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

_NAMES = {
    "builders.audit.answers": "read_answers",
    "builders.audit.draw": "calibrate",
    "builders.audit.report": "AuditReport audit_report",
    "builders.audit.sample": "AuditSample",
    "builders.cascade.calibration": "Calibration",
    "builders.cascade.combining": "Combine",
    "builders.cascade.fitting": "LabelledScore",
    "builders.cascade.report": "judging_report",
    "builders.cascade.rules": "Rule conclude",
    "builders.configs.config_writer": "Shard",
    "builders.configs.relabeled_builder": "RelabeledBuilder RelabeledConfig",
    "builders.configs.release": "Release release_from_folder",
    "builders.configs.writing": "BuildReport write_configs",
    "builders.endpoint": "Endpoint EndpointError Reply Request",
    "builders.errors": "BadRow BuildError CardError ConfigError InputError JobError"
    " JournalError JudgingStopped RelabelError ReleaseError SourceError TrainingError",
    "builders.job.job_file": "Job",
    "builders.job.reading": "load_job",
    "builders.job.steps": "BuildSettings",
    "builders.journal.store": "Journal",
    "builders.judgements": "Judgement Label Outcome Verdict",
    "builders.judges.offline.cross_encoder": "CrossEncoderJudge",
    "builders.judges.offline.similarity": "SimilarityJudge",
    "builders.judges.offline.student": "StudentJudge",
    "builders.judges.offline.truth": "TruthJudge",
    "builders.judges.prompted.listwise": "ListwiseJudge",
    "builders.judges.prompted.pointwise": "PointwiseJudge",
    "builders.judges.prompted.ranking": "RankingJudge",
    "builders.judges.prompted.reranking": "RerankJudge",
    "builders.judges.prompted.saved_replies": "SavedRepliesJudge",
    "builders.judges.prompted.spans": "SpanJudge",
    "builders.mining.report": "MiningReport",
    "builders.planning.plan": "JobPlan StagePlan",
    "builders.rows": "NumberedRow Passage Row",
    "builders.sources": "Source",
    "builders.sources.findings": "free_findings",
    "builders.sources.inspection": "Inspection",
    "builders.sources.samples": "Sample",
    "builders.techniques": "Technique apply",
    "cards.card_facts": "CardFacts",
    "cards.data_card": "render_card",
    "cards.training_report": "TrainingReport",
    "hub_tools.building.rebuild": "rebuild_configs",
    "hub_tools.building.run": "build_configs",
    "hub_tools.endpoints.registry": "make_endpoint",
    "hub_tools.endpoints.scheduling.scheduler": "Limits Scheduler",
    "hub_tools.hub.source": "open_hub_source open_source",
    "hub_tools.judging.plan": "plan",
    "hub_tools.judging.run": "judge",
    "hub_tools.judging.stage_report": "StageReport",
    "hub_tools.judging.stages": "Member Stage",
    "hub_tools.judging.suspects": "search_suspects",
    "hub_tools.local_hub": "LocalHub",
    "hub_tools.looking": "draw_audit inspect judged_rows verdicts",
    "hub_tools.mining": "mine",
    "hub_tools.relabeling": "relabel",
    "hub_tools.releases.diff": "diff",
    "hub_tools.releases.log": "log",
    "hub_tools.releases.models": "push_model",
    "hub_tools.releases.opening": "open_release",
    "hub_tools.releases.pull": "pull",
    "hub_tools.releases.push": "PushReport push push_source",
    "trainers.comparing.compare": "CompareReport compare",
    "trainers.comparing.prune": "prune",
    "trainers.data.training_data": "open_training_data",
    "trainers.evaluation.beir": "read_beir",
    "trainers.evaluation.evaluator": "RetrievalEvaluator evaluate_model",
    "trainers.guide": "Guide",
    "trainers.losses": "MultiPositiveLoss",
    "trainers.recipes.recipe": "Recipe load_recipe",
    "trainers.row_trainer": "RowTrainer",
    "trainers.students.judge_bench": "judge_figures",
    "trainers.students.judge_student": "StudentExample train_student",
    "trainers.training.plan": "plan_training",
    "trainers.training.publishing": "publish",
    "trainers.training.run": "train",
}
"""What each module gives to the package."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

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

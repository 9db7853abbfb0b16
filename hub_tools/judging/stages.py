"""Stages of a cascade, ready to run, and how they are made of what a caller has: a judge, its kind, a server's URL."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from typing_extensions import TypeIs

from hf_relabel.builders.cascade.combining import Combine
from hf_relabel.builders.cascade.rules import Rule
from hf_relabel.builders.endpoint import Endpoint
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.prompted.saved_replies import SavedRepliesJudge
from hf_relabel.builders.judges.protocols import BatchJudge, PromptJudge
from hf_relabel.builders.judges.registry import ANSWER, JUDGES, expanded, kinds, make_judge
from hf_relabel.builders.messages.expecting import told
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.builders.sources import Source
from hf_relabel.builders.sources.subsets import exempt_of
from hf_relabel.hub_tools.endpoints.registry import make_endpoint
from hf_relabel.hub_tools.endpoints.scheduling.limits import Limits
from hf_relabel.hub_tools.endpoints.sending import share
from hf_relabel.hub_tools.judging.adapting import sendings

Order: TypeAlias = Literal["value", "source"]
Judge: TypeAlias = PromptJudge | BatchJudge | SavedRepliesJudge
"""Whoever judges: by asking a server, by computing, or by reading what was said before."""


@dataclass(frozen=True, slots=True)
class Member:
    """One judge of a stage and what it works with. The fields are those of `Stage`.

    Example:
            endpoint = make_endpoint("http://127.0.0.1:8080")
            second = Member(PointwiseJudge(), endpoints=(endpoint,))
            Stage("two", ListwiseJudge(), endpoints=(endpoint,), others=(second,), combine=Combine("agreement"))
    """

    judge: Judge
    endpoints: tuple[Endpoint, ...] = ()
    limits: Limits = field(default_factory=Limits)
    replies: Source | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        share(sendings(self.endpoints))


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a cascade, ready to run.

    Example:
            cheap = Stage("cheap", SimilarityJudge(), Rule(escalate="candidate"))
            accurate = Stage("accurate", ListwiseJudge(), endpoints=(make_endpoint("http://127.0.0.1:8080"),))
            judge("train.jsonl", [cheap, accurate], "journal.sqlite")

    Attributes:
        endpoints: the servers of a judge that asks one; several share the work. They must serve the same model.
        replies: for a judge of saved replies, the source that holds them.
        model: the model id to journal under when a server does not tell its own.
        others: further judges that are asked about the same candidates.
        combine: how the judges' words become one; needed where there are others.
        order: of the rows, in a stage that is not the first: "value" begins where most is likely found by what the
            stage before says, "source" takes them as they come; None for "value" where the run may end early
            (`max_cost`, `deadline`).
    """

    name: str
    judge: Judge
    rule: Rule = field(default_factory=Rule)
    endpoints: tuple[Endpoint, ...] = ()
    limits: Limits = field(default_factory=Limits)
    replies: Source | None = None
    model: str | None = None
    others: tuple[Member, ...] = ()
    combine: Combine | None = None
    order: Order | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """All judges of the stage, in order."""
        return Member(self.judge, self.endpoints, self.limits, self.replies, self.model), *self.others


def check_stages(stages: Sequence[Stage]) -> None:
    """Whether stages can be run.

    Raises:
        ConfigError: they do not fit together.
    """
    if not stages:
        raise ConfigError("A cascade needs at least one stage.")
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise ConfigError(f"Stage names must differ: {', '.join(names)}.")
    for stage in stages:
        if stage.others and stage.combine is None:
            raise ConfigError(f"Stage {stage.name!r} has several judges: say how to combine them.")
        if stage.combine is not None:
            stage.combine.check(len(stage.members))
        for member in stage.members:
            if hasattr(member.judge, "exempt") and not hasattr(member.judge, "exempt_subsets"):
                raise ConfigError(
                    f"Stage {stage.name!r} ({member.judge.kind}): a judge names what it leaves alone by its attribute"
                    " `exempt_subsets`, a tuple of subsets, and no longer by a method `exempt`."
                )
            if asks_server(member) and not member.endpoints:
                raise ConfigError(
                    f"Stage {stage.name!r} ({member.judge.kind}) asks a server and has no endpoint. Give it the URL"
                    " of one, such as http://127.0.0.1:8080."
                )
            for endpoint in member.endpoints:
                _check_reranks(stage.name, member.judge, endpoint)
            if member.endpoints and not asks_server(member):
                raise ConfigError(
                    f"{argument('endpoint')}: the {member.judge.kind} judge asks no server. Leave it out, or name a"
                    " judge that asks one."
                )


def _check_reranks(stage: str, judge_: Judge, endpoint: Endpoint) -> None:
    """Raises: ConfigError, where a judge asks for scores and its server writes text, or the other way round."""
    wants, is_one = getattr(judge_, "reranks", False), getattr(endpoint, "reranks", False)
    if wants and not is_one:
        raise ConfigError(
            f"Stage {stage!r}: the {judge_.kind} judge asks a reranker. Give {endpoint.name} the dialect rerank."
        )
    if getattr(endpoint, "decides", False) and judge_.kind != "pointwise":
        raise ConfigError(
            f"Stage {stage!r}: {endpoint.name} gives decisions and no text: only the pointwise judge asks so."
        )
    if is_one and not wants:
        raise ConfigError(f"Stage {stage!r}: {endpoint.name} is a reranker, which the {judge_.kind} judge cannot ask.")


def in_one_run(stages: Sequence[Stage]) -> list[Stage]:
    """The stages with the deadline and the cap of the run for those judges that have none of their own: the longest and
    the highest of the others'. A cap only where the judge has prices."""
    given = [member.limits for stage in stages for member in stage.members]
    deadline = max((limits.deadline for limits in given if limits.deadline is not None), default=None)
    cap = max((limits.max_cost for limits in given if limits.max_cost is not None), default=None)

    def within(limits: Limits) -> Limits:
        max_cost = cap if limits.max_cost is None and limits.is_priced else limits.max_cost
        return replace(limits, deadline=deadline if limits.deadline is None else limits.deadline, max_cost=max_cost)

    return [
        replace(
            stage,
            limits=within(stage.limits),
            others=tuple(replace(member, limits=within(member.limits)) for member in stage.others),
        )
        for stage in stages
    ]


# Made of what a caller has

Judges: TypeAlias = "Stage | Judge | str"
"""What stands for one stage: itself, a judge, or a judge's kind such as `listwise` or `similarity`."""
Servers: TypeAlias = "Endpoint | str"
"""What stands for a judge server: itself, or what `make_endpoint` makes it of."""


def as_stages(
    stages: Judges | Sequence[Judges],
    *,
    endpoint: Servers | Sequence[Servers] | None = None,
    model: str | None = None,
    limits: Limits | None = None,
) -> list[Stage]:
    """Stages, made of judges where they are not stages yet, and checked.

    Args:
        stages: one, or a cascade of them, cheap first.
        endpoint: the server, or several that serve the same model, of all judges that ask one and have none.
        model: the model to ask those servers for; without an endpoint, that of the judges that are named by their
            kind.
        limits: how hard to work, for stages that are made here.

    Raises:
        ConfigError: what was given is no stage or no judge; a judge that asks has no endpoint, or nobody asks the one
            that was given, or has a use for the model.
    """
    given = list(stages) if isinstance(stages, Sequence) and not isinstance(stages, str) else [stages]
    for kind in given:
        if isinstance(kind, str) and kind not in kinds():
            make_judge(kind)  # says which is meant, before anything is said of its model
    own_model = model if endpoint is None else None
    if own_model is not None and not any(isinstance(one, str) and _takes_model(one) for one in given):
        raise ConfigError(f"model: nobody here takes the name of a model ({own_model!r}). Give it to the judge itself.")
    made = [_as_stage(one, limits, own_model) for one in given]
    if endpoint is not None:
        if not any(asks_server(member) and not member.endpoints for stage in made for member in stage.members):
            whom = ", ".join(stage.judge.kind for stage in made) or "no judge"
            raise ConfigError(f"endpoint: nobody here needs one ({whom}). Leave it out, or name a judge that asks.")
        made = [_with_endpoints(stage, endpoint, model) for stage in made]
    made = in_one_run(list(_differently_named(made)))
    check_stages(made)
    return made


def _endpoints_for(judge_: Judge, given: Any, model: str | None) -> tuple[Endpoint, ...]:
    return as_endpoints(given, model, dialect="rerank" if getattr(judge_, "reranks", False) else "auto")


def as_endpoints(
    given: Servers | Sequence[Servers] | None, model: str | None = None, *, dialect: str = "auto"
) -> tuple[Endpoint, ...]:
    """Endpoints of their URLs, of what else `make_endpoint` takes, or as they are.

    Raises:
        ConfigError: it is nothing of the kind.
    """
    if given is None:
        return ()
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    return tuple(_as_endpoint(one, model, dialect) for one in several)


def _as_endpoint(given: Any, model: str | None, dialect: str) -> Endpoint:
    if isinstance(given, str):
        return make_endpoint(given, dialect=dialect, model=model)
    if not (hasattr(given, "complete") and hasattr(given, "info")) or isinstance(given, type):
        raise ConfigError(
            f"endpoint: expected a URL such as http://127.0.0.1:8080, or what make_endpoint gives; found {told(given)}."
        )
    endpoint: Endpoint = given
    return endpoint


def _as_stage(given: Any, limits: Limits | None, model: str | None) -> Stage:
    if isinstance(given, Stage):
        return given
    if isinstance(given, str):
        settings = {"model": model} if model is not None and _takes_model(given) else {}
        return _stage_of_kind(given, settings, limits or Limits())
    if isinstance(given, type) or not is_judge(given):
        raise ConfigError(
            f"A stage is a Stage, a judge such as ListwiseJudge(), or its kind such as 'listwise'; found {told(given)}."
        )
    return Stage(given.kind, given, limits=limits or Limits())


def _takes_model(kind: str) -> bool:
    return kind in JUDGES and "model" in inspect.signature(JUDGES[kind]).parameters


def _stage_of_kind(kind: str, settings: Mapping[str, Any], limits: Limits) -> Stage:
    first, *others = [make_judge(name, **given) for name, given in expanded({"kind": kind, **settings})]
    combine = Combine("arhn" if kind == ANSWER else "agreement") if others else None
    return Stage(
        kind, first, limits=limits, others=tuple(Member(judge, limits=limits) for judge in others), combine=combine
    )


def _with_endpoints(stage: Stage, endpoint: Any, model: str | None) -> Stage:
    """A stage with that server for those of its judges that ask one and have none, each with connections of its own,
    since each is closed when its judge is done."""
    served = [
        replace(member, endpoints=_endpoints_for(member.judge, endpoint, model), model=member.model or model)
        if asks_server(member) and not member.endpoints
        else member
        for member in stage.members
    ]
    first, *others = served
    return replace(stage, endpoints=first.endpoints, model=first.model, others=tuple(others))


def _differently_named(stages: Sequence[Stage]) -> Iterator[Stage]:
    """Two judges of one kind have one name: then the later ones get a number."""
    seen: dict[str, int] = {}
    for stage in stages:
        seen[stage.name] = seen.get(stage.name, 0) + 1
        is_made = stage.name == getattr(stage.judge, "kind", None)
        yield replace(stage, name=f"{stage.name}-{seen[stage.name]}") if is_made and seen[stage.name] > 1 else stage


# What a judge is


def is_judge(given: object) -> TypeIs[Judge]:
    """Whether something can judge."""
    return hasattr(given, "kind") and any(hasattr(given, name) for name in ("asks", "batch_rows", "judgements"))


def asks_server(member: Member) -> bool:
    """Whether a judge needs an endpoint."""
    return not isinstance(member.judge, SavedRepliesJudge) and not is_batch(member.judge)


def exempt_subsets(stages: Sequence[Stage]) -> frozenset[str]:
    """Keys of the subsets that are not judged, since some judge leaves them alone."""
    return exempt_of(member.judge for stage in stages for member in stage.members)


def asks_by_value(stage: Stage, member: int) -> bool:
    """Whether a judge of a stage begins with the rows where most is likely found."""
    limits = stage.members[member].limits
    may_end = limits.max_cost is not None or limits.deadline is not None
    return may_end if stage.order is None else stage.order == "value"


def is_batch(judge_: Judge) -> TypeIs[BatchJudge]:
    """Whether a judge computes by itself."""
    return hasattr(judge_, "batch_rows")

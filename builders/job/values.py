"""What settings of a job file are made of."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.registry import SAVED_REPLIES, expanded, judge_problems, make_judge
from hf_relabel.builders.messages.nearest import nearest_or_all


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def checked_judge(value: Any) -> Any:
    """A kind alone stands for a judge with no settings of its own. All of its mistakes at once."""
    judge = {"kind": value} if isinstance(value, str) else value
    if not isinstance(judge, dict):
        return judge
    if not isinstance(judge.get("kind"), str):
        raise ValueError("needs a `kind`, such as `kind: listwise`")
    wrong = list(judge_problems(judge))
    try:
        made = [] if wrong else expanded(judge)
        for kind, settings in made:
            if kind != SAVED_REPLIES:
                make_judge(kind, **settings)
    except ConfigError as error:
        wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join(wrong))
    return judge


def listed(value: Any) -> Any:
    """A list of one may be written without its brackets."""
    return (value,) if isinstance(value, str | dict) else value


def unknown(name: str, known: Collection[str], what: str) -> str:
    return f"there is no {what} {name!r}.{nearest_or_all(name, known)}"


def named(value: str) -> str:
    """An empty name would mean the folder one is in."""
    if not value.strip():
        raise ValueError("the name is empty. Name a folder; the one you are in is called '.'")
    return value


FolderName = Annotated[str, AfterValidator(named)]
JudgeEntry = Annotated[dict[str, Any], BeforeValidator(checked_judge)]
Texts = Annotated[tuple[str, ...], BeforeValidator(listed)]

"""The arms of a comparison: configs as they are, and trained by what needs no judge, `config+NAME[:PARAMETER=VALUE,…]`.

Each addition is a setting of recipes; the class of its settings says what it does and after which paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from pydantic import ValidationError

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.problems import problems
from hf_relabel.builders.messages.spelling import argument
from hf_relabel.trainers.comparing.matched_steps import with_matched_steps
from hf_relabel.trainers.comparing.trials import Arm
from hf_relabel.trainers.comparing.zone_arms import ZoneArms, config_of
from hf_relabel.trainers.data.training_data import TrainingData
from hf_relabel.trainers.recipes.parts import GuideSettings, TeacherSettings
from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe, with_teacher
from hf_relabel.trainers.recipes.robust import (
    ConfidenceRegularised,
    Debiased,
    GeneralisedCrossEntropy,
    SieveSettings,
    WeakenedLabels,
)
from hf_relabel.trainers.recipes.settings import Settings

STEPS = "steps"
"""The addition that is no setting of its own: it follows from the other arms."""


@dataclass(frozen=True)
class Models:
    """Models that additions ask.

    Attributes:
        teacher: of `distillation` and `perc-pos`.
        guide: of `guide`; None for the teacher, where that is a bi-encoder.
    """

    teacher: TeacherSettings | None = None
    guide: GuideSettings | None = None

    def guiding(self) -> GuideSettings | None:
        """The guide."""
        teacher = self.teacher
        if self.guide is not None or teacher is None or teacher.kind != "bi-encoder":
            return self.guide
        return GuideSettings(model=teacher.model, revision=teacher.revision)


@dataclass(frozen=True)
class Addition:
    """What may stand behind a `+`.

    Attributes:
        parameters: fields of its settings that an arm may give.
        settings: these, with the models that are asked; None where there is no such model.
        added: the recipe with them.
        needs: what is said where there is no such model.
    """

    parameters: tuple[str, ...]
    settings: Callable[[Models], Settings | None]
    added: Callable[[Recipe, Any], Recipe]
    needs: str = ""


def _of_loss(name: str) -> Callable[[Recipe, Settings], Recipe]:
    def added(recipe: Recipe, settings: Settings) -> Recipe:
        values = recipe.model_dump()
        return load_recipe({**values, "loss": {**values["loss"], name: settings.model_dump()}})

    return added


def _with_sieve(recipe: Recipe, settings: SieveSettings) -> Recipe:
    return load_recipe({**recipe.model_dump(), "sieve": settings.model_dump()})


def _teaching(use: str) -> Callable[[Models], TeacherSettings | None]:
    return lambda models: None if models.teacher is None else models.teacher.for_use(use)


def _robust(settings: type[Settings], *parameters: str) -> Addition:
    return Addition(parameters, lambda _: settings(), _of_loss("robust"))


_TEACHER = f"a teacher, a cross-encoder: {argument('teacher', ...)}"
ADDITIONS: Mapping[str, Addition] = {
    "distillation": Addition(("temperature",), _teaching("distillation"), with_teacher, _TEACHER),
    "perc-pos": Addition(("share",), _teaching("perc-pos"), with_teacher, _TEACHER),
    "guide": Addition(
        ("margin", "strategy"),
        Models.guiding,
        _of_loss("guide"),
        f"a guide, a bi-encoder: {argument('guide', ...)}",
    ),
    "debiased": _robust(Debiased, "tau_plus"),
    "gce": _robust(GeneralisedCrossEntropy, "q"),
    "ccr": _robust(ConfidenceRegularised, "beta"),
    "label-weakening": _robust(WeakenedLabels, "alpha", "beta"),
    "sieve": Addition(("beta",), lambda _: SieveSettings(), _with_sieve),
}
"""By name; `steps` beside them."""


def arms_of(zones: ZoneArms, names: Sequence[str], recipe: Recipe, models: Models | None = None) -> list[Arm]:
    """The arms of these names, each once, in their order; of two that are trained alike the first.

    Args:
        zones: opens the configs.
        recipe: of all of them; an addition changes it.

    Raises:
        ConfigError: a config does not exist, or an addition, or a parameter of it, or what it needs.
    """
    opened = cache(zones.opened)
    made = (arm_of(zones, name, recipe, models or Models(), opened) for name in names)
    wanted = list[Arm]()
    for arm in made:  # by what is done: one arm may be written in several ways
        if not any(_is_same(arm, other) for other in wanted):
            wanted.append(arm)
    others = [arm for arm in wanted if not _is_matched(arm)]
    return [with_matched_steps(arm, others) if _is_matched(arm) else arm for arm in wanted]


def arm_of(zones: ZoneArms, name: str, recipe: Recipe, models: Models, opened: Callable[[str], TrainingData]) -> Arm:
    """One arm; of `config+steps`, before its steps are matched."""
    config, plus, addition = name.partition("+")
    config = config_of(config)
    name = f"{config}{plus}{addition}"
    zones.check(config)  # says so now if there is none
    if plus:
        recipe = _added(name, addition, recipe, models)
    return Arm(name, config, recipe, lambda: opened(config))


def _is_same(one: Arm, other: Arm) -> bool:
    return (one.config, _kind(one), one.recipe) == (other.config, _kind(other), other.recipe)


def _kind(arm: Arm) -> str:
    """The name of its addition."""
    return arm.name.partition("+")[2].partition(":")[0]


def _is_matched(arm: Arm) -> bool:
    return arm.name == f"{arm.config}+{STEPS}"


def _added(name: str, written: str, recipe: Recipe, models: Models) -> Recipe:
    kind, _, parameters = written.partition(":")
    given = dict(_given(name, parameters))
    if kind == STEPS:
        _check_known(name, kind, given, ())
        return recipe
    if kind not in ADDITIONS:
        _refuse_kind(name, kind)
    addition = ADDITIONS[kind]
    _check_known(name, kind, given, addition.parameters)
    settings = addition.settings(models)
    if settings is None:
        raise ConfigError(f"{name} needs {addition.needs}.")
    try:
        return addition.added(recipe, type(settings).model_validate({**settings.model_dump(), **given}))
    except ValidationError as error:
        raise ConfigError(f"{name}: {' '.join(text for _, text in problems(error, type(settings)))}") from None
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _given(name: str, parameters: str) -> Iterator[tuple[str, str]]:
    seen = set()
    for part in parameters.split(",") if parameters else ():
        key, equals, value = (text.strip() for text in part.partition("="))
        if not (key and equals and value) or key in seen:
            raise ConfigError(f"{name}: parameters are NAME=VALUE,NAME=VALUE, each once, not {parameters!r}.")
        seen.add(key)
        yield key, value


def _check_known(name: str, kind: str, given: Mapping[str, str], known: Sequence[str]) -> None:
    for key in given:
        if key not in known:
            there = f"has {' and '.join(known)}" if known else "has none"
            raise ConfigError(f"{name}: there is no parameter {key!r}.{did_you_mean(key, known)} +{kind} {there}.")


def _refuse_kind(name: str, kind: str) -> NoReturn:
    known = [*ADDITIONS, STEPS]
    if "+" in kind:
        raise ConfigError(f"{name}: an arm has one addition, behind one +. Name each as an arm of its own.")
    there = ", ".join(f"+{each}" for each in known)
    raise ConfigError(f"{name}: there is no arm with +{kind}.{did_you_mean(kind, known)} There are {there}.")

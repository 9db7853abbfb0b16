"""Evaluation sets by name, as the command line takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from hf_relabel.builders.errors import ConfigError, RelabelError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.sources.paths import did_you_mean_beside
from hf_relabel.cards.set_groups import CQADUPSTACK, FORUMS, GROUPS
from hf_relabel.trainers.evaluation.sets import RetrievalSet

NANO_BEIR, AIR_BENCH, BEIR, HAKARI = "nanobeir", "air-bench", "beir", "hakari"
AIR_BENCH_5 = "air-bench-5"
_TOLD = 3
"""Sets of a group that cannot be opened, of which it is said why."""

Opener = Callable[[], RetrievalSet]


def open_sets(names: Sequence[str]) -> list[RetrievalSet]:
    """Open evaluation sets. A set that several groups have is opened once.

    Args:
        names: BEIR folders (`folder`, or `folder:dev` for another split than test); groups of `cards.set_groups`:
            `beir-16`, `beir-15`, `beir-14`, `beir-ood-7`, `cqadupstack`, `air-bench-5`, `nanobeir`; `beir-16:FOLDER`
            where some of the sets are BEIR folders in FOLDER, as those that are not on the Hub have to be; one set of
            the Hub: `beir:scifact`, `nanobeir:scifact`, `air-bench:qa/healthcare/en`; a benchmark of HAKARI-Bench,
            `hakari:NanoCodeRAG`, or a task of it, `hakari:NanoMLDR/de`.

    Raises:
        ConfigError, SourceError: there is no such set, it cannot be read, or one of a group is missing.
    """
    opened: list[RetrievalSet] = []
    of_groups: set[str] = set()
    for name in names:
        group = _group(name)
        if group is None:
            opened += _open(name)
            continue
        openers = {each: opener for each, opener in group.items() if each not in of_groups}
        opened += _whole(name, openers, len(group))
        of_groups |= set(openers)
    return opened


def _group(name: str) -> dict[str, Opener] | None:
    """How each set of a group is opened, by its name. None where this is no group."""
    from hf_relabel.trainers.evaluation.hub_sets import air_bench, nano_beir

    kind, _, folder = name.partition(":")
    if kind not in GROUPS or Path(name).is_dir() or (folder and kind in (NANO_BEIR, AIR_BENCH_5)):
        return None
    if kind == NANO_BEIR:
        return {each: partial(nano_beir, each) for each in GROUPS[kind]}
    if kind == AIR_BENCH_5:
        return {each: partial(air_bench, *_air_bench_parts(each)) for each in GROUPS[kind]}
    place = _folder(name, folder) if folder else None
    return {each: partial(_beir, each, place) for each in GROUPS[kind]}


def _air_bench_parts(name: str) -> tuple[str, str, str]:
    """Task, domain and language out of the name of a set: `AIR-Bench qa law en`."""
    task, domain, language = name.split()[1:]
    return task, domain, language


def _folder(name: str, folder: str) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise ConfigError(f"{name}: there is no folder {folder!r}.{did_you_mean_beside(path)} It holds BEIR folders.")
    return path


def _beir(name: str, place: Path | None) -> RetrievalSet:
    """A set of BEIR: the folder of its name where there is one, else that on the Hub."""
    from hf_relabel.trainers.evaluation.beir import read_beir
    from hf_relabel.trainers.evaluation.hub_beir import BEIR as ON_THE_HUB
    from hf_relabel.trainers.evaluation.hub_beir import BEIR_SPLITS, beir

    inside = [name, f"{CQADUPSTACK}/{name.removeprefix(f'{CQADUPSTACK}-')}"] if name in FORUMS else [name]
    for folder in (place / each for each in inside) if place else ():
        if folder.is_dir():
            return read_beir(folder, split=BEIR_SPLITS.get(name, "test"), name=name)
    if name not in ON_THE_HUB:
        where = (
            f"a BEIR folder {name!r} in {place}" if place else f"a folder of BEIR folders, GROUP:FOLDER, with {name!r}"
        )
        raise ConfigError(f"may not be passed on, so it is not on the Hub. Give {where}.")
    return beir(name)


def _whole(group: str, openers: dict[str, Opener], size: int) -> list[RetrievalSet]:
    """All sets of a group.

    Raises:
        ConfigError: one is missing. A mean over the others would be none of the group.
    """
    found: list[RetrievalSet] = []
    missing: dict[str, str] = {}
    for name, opener in openers.items():
        try:
            found.append(opener())
        except RelabelError as error:
            missing[name] = str(error)
    if missing:
        told = [f"{name}: {why}" for name, why in list(missing.items())[:_TOLD]]
        told += [f"And {', '.join(list(missing)[_TOLD:])}."] if len(missing) > _TOLD else []
        raise ConfigError(
            f"{group}: {len(missing)} of its {size} sets cannot be opened, and a mean over the others would be none of"
            f" it. {' '.join(told)}"
        )
    return found


def _open(name: str) -> Iterator[RetrievalSet]:
    from hf_relabel.trainers.evaluation.beir import read_beir
    from hf_relabel.trainers.evaluation.hub_beir import beir, hakari
    from hf_relabel.trainers.evaluation.hub_sets import air_bench, nano_beir

    kind, _, rest = name.partition(":")
    folder, _, split = name.rpartition(":")
    if Path(name).is_dir():
        yield read_beir(name)
    elif kind == NANO_BEIR and rest:
        yield nano_beir(rest)
    elif kind == AIR_BENCH and rest.count("/") == 2:
        task, domain, language = rest.split("/")
        yield air_bench(task, domain, language)
    elif kind == HAKARI and rest:
        benchmark, _, part = rest.partition("/")
        yield from hakari(benchmark, part or None)
    elif kind == BEIR and rest and not any(Path(BEIR).glob("corpus.jsonl*")):  # but for a set in a folder of this name
        yield beir(rest)
    elif folder and Path(folder).is_dir():
        yield read_beir(folder, split=split)
    else:
        raise _no_set(name, kind)


def _no_set(name: str, kind: str) -> ConfigError:
    near = did_you_mean(kind, (*GROUPS, AIR_BENCH, BEIR, HAKARI)) or did_you_mean_beside(Path(name))
    return ConfigError(
        f"There is no evaluation set {name!r}.{near} Give a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), a group"
        f" ({', '.join(GROUPS)}), or one set: `beir:scifact`, `nanobeir:scifact`, `air-bench:qa/healthcare/en`,"
        " `hakari:NanoCodeRAG`."
    )

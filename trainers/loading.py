"""Loading a trained model from its folder, whatever kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_folder import model_folder
from hf_relabel.builders.judges.offline.model_loading import make_model, only_cached
from hf_relabel.cards.training_report import REPORT_NAME, TrainingReport, read_training_report

CLASSES = {
    "bi-encoder": "SentenceTransformer",
    "static": "SentenceTransformer",
    "sparse": "SparseEncoder",
    "late-interaction": "MultiVectorEncoder",
    "reranker": "CrossEncoder",
}


def load_trained(folder: Path, report: TrainingReport, *, device: str | None = None) -> Any:
    """The model of a training run."""
    return load_model(str(folder), kind=report.kind, device=device)


def load_model(
    location: str, *, kind: str | None = None, revision: str | None = None, device: str | None = None
) -> Any:
    """A model to evaluate: a run's folder, any folder, a Hub id, or `package:NAME`.

    Args:
        kind: a key of `CLASSES`; None reads the run's report, else what the model's own files say.

    Raises:
        ConfigError: it cannot be loaded, or the kind is not known.
    """
    import sentence_transformers

    folder = Path(location)
    if kind is None and (folder / REPORT_NAME).is_file():
        kind = read_training_report(folder).kind
    only = only_cached(location, revision)
    if kind is None:
        kind = _kind_of(location, revision, only)
    if kind not in CLASSES:
        raise ConfigError(f"There is no kind of model {kind!r}. There are: {', '.join(CLASSES)}.")
    made = getattr(sentence_transformers, CLASSES[kind])
    return make_model(made, location, revision=revision, local_files_only=only, device=device)


def _kind_of(location: str, revision: str | None, only_cached: bool) -> str:
    """What the files of a model say it is: `model_type` in its settings, a classification head, or a bi-encoder."""
    import json

    settings = _file(location, "config_sentence_transformers.json", revision, only_cached)
    if settings is not None:
        named = json.loads(settings.read_text(encoding="utf-8")).get("model_type", "SentenceTransformer")
        for kind, name in CLASSES.items():
            if name == named:
                return kind
    config = _file(location, "config.json", revision, only_cached)
    if config is not None:
        architectures = json.loads(config.read_text(encoding="utf-8")).get("architectures") or []
        if any("SequenceClassification" in str(name) for name in architectures):
            return "reranker"
    return "bi-encoder"


def _file(location: str, name: str, revision: str | None, only_cached: bool) -> Path | None:
    folder = model_folder(location) or Path(location)
    if Path(folder).is_dir():
        path = Path(folder) / name
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(location, name, revision=revision, local_files_only=only_cached))
    except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
        return None

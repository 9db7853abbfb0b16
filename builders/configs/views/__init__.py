"""Views: a config's rows as the tables that the losses of sentence-transformers take, ready to train on.

| view | columns | one line for | losses |
|---|---|---|---|
| `tuples` | query, positive, negative_1 … negative_n | each positive | (Cached)MultipleNegativesRankingLoss |
| `triplets` | query, positive, negative | each positive or negative, with one of the others | (Cached)GISTEmbedLoss |
| `lists` | query, docs, labels | each row | LambdaLoss, ListNetLoss and the other list losses of CrossEncoder |
| `scores` | query, positive, negative_1 … negative_n, label | each positive | MarginMSELoss, DistillKLDivLoss |
"""

from __future__ import annotations

from hf_relabel.builders.config_names import DEFAULT_NEGATIVES, ViewKind
from hf_relabel.builders.configs.views.view import ScoresOf, View, ViewCounts, views_of

__all__ = ["DEFAULT_NEGATIVES", "ScoresOf", "View", "ViewCounts", "ViewKind", "views_of"]

"""Output formats: the rows of each technique in the format that a trainer reads already, beside the configs.

`same` writes back the records that came in, with all their fields, and changes only what the technique changes. The
others are made from the rows. They lie in `formats/`, one file of JSON lines for each technique:

| format | a record |
|---|---|
| `same` | as it came in |
| `flagembedding` | query, pos, neg, and pos_scores and neg_scores where the row has scores |
| `triplet` | anchor, positive, negative: one for each positive and negative |
| `negative-list` | query, positive, negatives: one for each positive |
| `labeled-list` | query, docs, labels |
"""

from __future__ import annotations

from hf_relabel.builders.outputs.writing import FOLDER, OUTPUT_FORMATS, SAME, OutputFormat, write_formats

__all__ = ["FOLDER", "OUTPUT_FORMATS", "SAME", "OutputFormat", "write_formats"]

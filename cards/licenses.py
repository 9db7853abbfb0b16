"""The licenses that the Hub knows, by the ids that the front matter of a card takes.

From its page on licenses (huggingface.co/docs/hub/repositories-licenses). It refuses a card with another id.
"""

from __future__ import annotations

from hf_relabel.builders.errors import ConfigError
from hf_relabel.builders.messages.nearest import did_you_mean
from hf_relabel.builders.messages.spelling import argument

LICENSES = frozenset(
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
    open-mdw openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
    other
    """.split()  # noqa: SIM905 - as a list it is four times as long
)


def check_license(given: str | None) -> None:
    """Raises: ConfigError, the Hub has no license of that id; None is fine."""
    if given is None or given in LICENSES:
        return
    raise ConfigError(
        f"{argument('license', given)} is no license that the Hub knows.{did_you_mean(given, sorted(LICENSES))}"
        " Its ids are listed at https://huggingface.co/docs/hub/repositories-licenses; `other` stands for any other."
    )

"""A Hub on this machine, for development and tests."""

from hf_relabel.hub_tools.local_hub.server import LocalHub

__all__ = ["LocalHub"]

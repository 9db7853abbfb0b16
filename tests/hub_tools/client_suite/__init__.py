"""Checks that the real `huggingface_hub` and `datasets` clients pass against the local Hub.

Each follows what the clients' documentation promises of the Hub, and none looks into the server. They run in a process
of their own, because the clients read their settings when they are imported:

    python -m tests.hub_tools.client_suite --url http://127.0.0.1:7860 --token hf_… --other-token hf_…
"""

from __future__ import annotations

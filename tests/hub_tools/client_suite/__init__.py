"""Checks that the real `huggingface_hub` and `datasets` clients pass against the local Hub.

They run in a process of their own, because the clients read their settings when they are imported. `test_clients`
starts it once with the clients' defaults and once without Xet.
"""

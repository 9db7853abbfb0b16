"""Judge servers, one class per dialect, behind the `Endpoint` protocol of hf_relabel.builders.endpoint.

`make_endpoint` (registry) makes one from a URL or a model id. The scheduler is what sends many requests.
"""

"""The same job on Ray: shards judged and built by many workers, merged at the end."""

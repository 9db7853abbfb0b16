"""Test sets with the relevant documents that their judgements miss: pooled from runs, judged, merged and measured."""

"""The configs of a release: techniques, the files that hold them, and their manifest."""

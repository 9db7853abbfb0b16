"""The Space: see a release, compare two, and judge its candidates blind."""

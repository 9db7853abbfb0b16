"""People of the Space: who may answer, what they answer, and where it is kept."""

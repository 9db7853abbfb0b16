"""The journal: every reply and judgement of a run, so that it can be gone on with."""

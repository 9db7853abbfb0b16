"""Judges that compute on this machine and ask nobody."""

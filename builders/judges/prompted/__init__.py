"""Judges that show a row's texts in a prompt, and what they need to ask and to understand."""

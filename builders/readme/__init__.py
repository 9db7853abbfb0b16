"""README.md of a built folder or a release: its front matter, our block in it, and everything of others kept."""

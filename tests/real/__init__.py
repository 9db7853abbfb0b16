"""Real judge servers, driven as a user would: `make real`, which installs each into an environment of its own."""

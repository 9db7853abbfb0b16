"""What all clients of the Hub share: sources, errors, and keeping secrets out of messages."""

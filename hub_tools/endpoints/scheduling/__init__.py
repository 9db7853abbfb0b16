"""What is sent to which judge server and when, and when to stop."""

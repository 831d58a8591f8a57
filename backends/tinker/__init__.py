"""The Tinker API through its own SDK."""

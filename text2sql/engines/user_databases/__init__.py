"""A user's own databases, read-only: opened, their schemas read, their rows fetched."""

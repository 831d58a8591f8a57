"""Database engines beside SQLite: what may run there, and how."""

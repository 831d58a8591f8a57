"""Database engines next to SQLite: what may run there, and how."""

"""Database engines besides SQLite: PostgreSQL, DuckDB and MySQL or MariaDB.

- `dialect`, `trees`, `answers`: the dialects, parsing and printing queries in them, reading a model's answers.
- `guard`: refuses every query that does more than read the tables of its schema.
- `sandbox/`: engines in which the two queries of a pair run on made tables; `declared/` reads the schema for them.
- `values/`, `translation/`: fits made values to an engine's types; translates queries into SQLite to choose rows.
- `user_databases/`, `url`, `failures`: a user's own databases, read-only: opening, schema, rows, error messages.
"""

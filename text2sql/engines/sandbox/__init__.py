"""The engines in which the queries of a pair run, on made tables alone.

- `engine`: the interface of an engine, and `open_engine`; implemented by `duckdb_engine`, `mysql_engine` and
  `postgres_engine`.
- `postgres_server`: starts a PostgreSQL server from a wheel where no URL is given.
- `engine_schema`, `schema_reader`: the tables as the engine creates them, read from CREATE TABLE statements.
- `engine_sandbox`: the sandbox of one pair, with the interface of SQLite's `text2sql.sql.sandbox.SqliteSandbox`.
"""

"""A user's own databases, read-only.

- `user_database`: a database that questions are asked about; `opening` and `connection`: a connection and its limits.
- `sqlite_file`, `duckdb_file`, `server`: connections to files and servers; `roles`: rights of a server's role to write.
- `duckdb_process`: the process that a DuckDB file is opened in, which the system limits.
- `inspect`: reads the schema, through `duckdb_catalogue` or `server_catalogue`; `table_text` writes it for prompts.
"""

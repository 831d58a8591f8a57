"""SQL as text, tokens and syntax trees, schemas, and the sandbox that executes SQLite queries.

- `tokens`, `trees`, `statements`, `extract`: tokenizer, sqlglot trees, writing statements, a model's answers.
- `ddl`, `table_parts`, `dumps`, `schema`, `column_paths`: CREATE TABLE statements and schemas; `files`: database files.
- `prepare`, `repair`, `canonical`: resolving double quotes, completing schemas, a normal form of queries.
- `sandbox`, `loading`, `budget`, `complexity`, `printf`: execution within limits.
- `hardness`, `features`, `shape`, `foreign_dialects`: facts about a query.
"""

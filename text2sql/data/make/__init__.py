"""Makes questions with SQL from a schema and its values: for the bundled data and for a user's database.

- `pairs`: the command `text2sql data make` (`options`); `verify`: checks.
- `describe`: a user's database as a domain; `spoken_names`: its names as people say them.
- `domain`, `query`: the vocabulary of a domain (tables, columns, words); queries by clauses, and drafts of pairs.
- `shapes/`: the query shapes, each of which draws a question with its query; `conditions`, `phrasing`: their parts.
- `teacher`: pairs that a teacher model writes.
"""

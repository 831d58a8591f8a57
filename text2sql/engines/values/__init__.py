"""Values on their way into an engine and back.

- `fitting`, `fitted_rows`: fits made values and rows to the types of an engine's columns.
- `fetched`, `postgres_decoders`: converts fetched values, for comparison or for display.
- `text_hints`, `split_texts`, `regular_expressions`, `nested_values`: values that tell queries apart which use
  functions that SQLite lacks.
- `pattern_checks`, `sqlite_functions`: the engines' functions that SQLite needs for CHECKs.
"""

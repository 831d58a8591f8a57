"""Translates queries of other dialects into SQLite, to choose the rows of made databases.

- `to_sqlite`: the translation of a whole query; `exactness`: whether it leaves something out.
- `week_parts`, `function_semantics`: functions that SQLite has not, or with other results.
- `date_arithmetic`: sums and differences of dates; `json_access`: parts of nested values; `pivots`: PIVOT and UNPIVOT.
"""

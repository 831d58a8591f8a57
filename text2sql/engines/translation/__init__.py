"""Translates queries of other dialects into SQLite, to choose the rows of made databases.

- `to_sqlite`: the translation of a whole query.
- `date_arithmetic`: sums and differences of dates; `json_access`: parts of nested values; `pivots`: PIVOT and UNPIVOT.
"""

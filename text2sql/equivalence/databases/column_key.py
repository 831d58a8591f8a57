"""What a column is called within a plan."""

from __future__ import annotations

# Table and column, in lower case.
ColumnKey = tuple[str, str]

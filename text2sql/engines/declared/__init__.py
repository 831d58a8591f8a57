"""Reads what a schema declares, for each engine.

- `types`, `created_types`: columns' types, and the enumerations, domains and composite types that a schema creates.
- `collations`, `created_collations`: columns' collations, and those that a schema creates.
- `inheritance`: PostgreSQL's INHERITS and partitions.
- `qualifiers`, `spelling`: tables of several schemas, qualified names, and letter case of names.
"""

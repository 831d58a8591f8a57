"""What a schema declares, as each engine takes it: types, collations, inherited tables, names."""

"""Values that columns are given, by what the queries compare, call and say about time."""

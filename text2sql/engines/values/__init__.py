"""Values: made ones as a column of an engine keeps them, and fetched ones as results are compared."""

"""The engines in which the queries of a pair run, on made tables alone."""

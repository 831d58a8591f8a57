"""Draws the rows of databases: recipes, scenarios of queries, samples, random rows, keys that hold."""

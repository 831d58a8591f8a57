"""Rows on which two queries differ, one module for each way in which they can.

Most modules have a ``..._samples`` function, which returns the samples that databases are made of, whatever the seed.
What the queries do is read in `phenomena`. Recursive chains and relational divisions need more rows than a sample has:
`drawing` makes the rows of a whole database for them.
"""

"""Ways in which two queries can differ, one module each: what it reads in the queries, and rows on which it shows.

Most modules have a ``read_...`` function, which `reading.compiler` calls to fill the plan, and a ``..._samples``
function, which returns the samples that databases are made of, whatever the seed. Recursive chains and relational
divisions need more rows than a sample has; they make the rows of a database themselves.
"""

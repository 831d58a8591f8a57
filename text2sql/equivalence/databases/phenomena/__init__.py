"""What queries compute from columns, groups, windows and recursion, one module each, read from the syntax trees.

Most modules have a ``read_...`` function, which `reading.compiler` calls to fill the plan, and a class for what it
returns. Rows on which two queries differ in it are made in `differences` and `drawing`, mostly by modules of the same
names.
"""

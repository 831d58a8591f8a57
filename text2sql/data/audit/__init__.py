"""Audits gold queries: finds smells of each, ranks them, and writes a file of decisions.

- `audit`: the command; `reading`: an example with the parts that the smells compare; `smell`: the type of a smell.
- `smells/`: smells of the question and the query alone; its docstring says which module has which.
- `database_run`, `samples`, `likelihood` (with `alternatives`): smells by a database, a model's answers, its scores.
- `weights`: how much each smell counts; `rephrasing`: words that a query has in another form.
"""

"""Databases made for a pair of queries: small ones, on which the queries are likely to differ if they can.

1. `reading` reads the syntax trees into a `Plan` (`plan`): the conditions that rows must satisfy together, and what the
   queries compute from columns, groups, windows and recursion; each kind of that has a module in `phenomena`. Start at
   `reading.compiler.compile_plan`.
2. `domains` groups the columns that are compared with each other and finds their values: near the queries' literals
   (`values`), allowed by the columns' types and CHECKs (`column_constraints`), sorted into those that make a condition
   true and those that do not. SQLite is asked (`probe`), also about conditions over several columns
   (`joint_conditions`).
3. `differences` has a module for each way in which two queries can differ, from the boundary of a HAVING to gaps and
   islands. Each finds samples (`samples`): rows on which that difference shows, whatever the seed.
4. `drawing` draws rows: of scenarios, in which a query finds its rows or just fails to, of samples, of recursions and
   divisions, and random ones. A recipe says how each database is made (`drawing.recipes`);
   `drawing.generator.Generator` makes them.

`limits` says what no made database reaches: a pair that differs in nothing else is undecided.
"""

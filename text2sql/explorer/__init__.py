"""`text2sql view`: shows all runs of a directory in a browser, with questions, answers and curves.

- `serve`: the web server; `app`: its pages and API; `admission`: who may use it, and security headers.
- `catalogue`: the runs in the directory; `overview`: the head of a run's page.
"""

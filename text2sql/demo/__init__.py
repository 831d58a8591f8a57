"""`text2sql demo`: a page to ask a run's models, and to check and run their SQL.

- `page`: builds and serves the page; `widgets`: its widgets; `actions`: its behaviour; `view`: its HTML.
- `session`: sources, checks of queries and a visitor's history, without widgets; `example`: the example shop.
- `uploads`, `storage`: uploaded files and where they are kept; `admission`: who may use it, and how much is accepted.
"""

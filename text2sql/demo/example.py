"""An example shop for trying questions: in the demo, and as files of `text2sql example`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

NAME = "example shop.sqlite"
QUESTION = "How many customers live in Lisbon?"
SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, since INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), product TEXT, price REAL,
  day DATE);
""".lstrip()
ROWS = """
INSERT INTO customers VALUES (1, 'Ines', 'Lisbon', 2019), (2, 'Tomas', 'Porto', 2021), (3, 'Marta', 'Lisbon', 2020),
  (4, 'Rui', 'Faro', 2023), (5, 'Alba', 'Braga', 2018), (6, 'Nuno', 'Lisbon', 2022);
INSERT INTO orders VALUES (1, 1, 'lamp', 39.5, '2026-01-12'), (2, 1, 'chair', 89.0, '2026-02-03'),
  (3, 2, 'lamp', 39.5, '2026-02-11'), (4, 3, 'desk', 240.0, '2026-03-01'), (5, 3, 'lamp', 39.5, '2026-03-02'),
  (6, 5, 'shelf', 120.0, '2026-03-18'), (7, 6, 'chair', 89.0, '2026-04-07'), (8, 6, 'desk', 240.0, '2026-04-09');
"""


def write_example(directory: Path, name: str = NAME) -> Path:
    """Writes the shop's database into a directory."""
    path = directory / name
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA + ROWS)
    return path

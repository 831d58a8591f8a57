"""The options of `text2sql data make`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from text2sql.config import EndpointConfig
from text2sql.data.schema_cut import DEFAULT_MAX_TABLES
from text2sql.engines.url import Location


@dataclass(frozen=True)
class MakeOptions:
    """The options of `text2sql data make`.

    Attributes:
        location: The database.
        output: The file of pairs.
        count: The number of pairs in all.
        seed: The seed of the random draws.
        max_tables: Above so many tables, a pair's schema shows only those that its question needs.
        allow_writable_role: Whether to accept a database role with rights to write.
        teacher: A model that writes half of the pairs; None for shapes only.
    """

    location: Location
    output: Path
    count: int = 1000
    seed: int = 0
    max_tables: int = DEFAULT_MAX_TABLES
    allow_writable_role: bool = False
    teacher: EndpointConfig | None = None

"""What `text2sql data make` is to make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from text2sql.config import EndpointConfig
from text2sql.data.schema_cut import DEFAULT_MAX_TABLES
from text2sql.engines.url import Location


@dataclass(frozen=True)
class MakeOptions:
    """What is to be made.

    Attributes:
        location: The database.
        output: The file of pairs.
        count: Pairs in all.
        seed: Of what is drawn.
        max_tables: Tables of a schema above which a row shows those alone that its question needs.
        allow_writable_role: Whether the database's role may be one that could write.
        teacher: A model that writes pairs too, half of them; None for the shapes alone.
    """

    location: Location
    output: Path
    count: int = 1000
    seed: int = 0
    max_tables: int = DEFAULT_MAX_TABLES
    allow_writable_role: bool = False
    teacher: EndpointConfig | None = None

"""What the evaluator says about one pair of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import JsonValue

from text2sql.sql.values import Row, Value

Status = Literal["equivalent", "different", "error", "timeout", "refused", "undecided"]
# What an ``equivalent`` rests on: both queries have one normal form; databases that told nothing apart and a proof for
# all small databases; or such databases alone.
Proof = Literal["canonical", "bounded", "tested"]
PROOFS: tuple[Proof, ...] = ("canonical", "bounded", "tested")
STATUSES: tuple[Status, ...] = ("equivalent", "different", "error", "timeout", "refused", "undecided")


def _plain(value: Value) -> JsonValue:
    """A value as JSON has it; bytes become ``{"hex": ...}`` and infinities their name."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"float": str(value)}
    return value


def _from_plain(value: Any) -> Value:
    if isinstance(value, Mapping):
        return bytes.fromhex(value["hex"]) if "hex" in value else float(value["float"])
    return value


@dataclass(frozen=True)
class Table:
    """The rows of one table, or of one result."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """The table as plain JSON."""
        return {"columns": list(self.columns), "rows": [[_plain(v) for v in row] for row in self.rows]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Table:
        """The inverse of `to_dict`."""
        return cls(tuple(data["columns"]), tuple(tuple(_from_plain(v) for v in row) for row in data["rows"]))


@dataclass(frozen=True)
class Witness:
    """A small database on which two queries give different results, with both results.

    Attributes:
        tables: The rows of every table that either query reads; tables without rows are present and empty.
        gold: What the gold query returns on it.
        predicted: What the predicted query returns on it.
    """

    tables: dict[str, Table]
    gold: Table
    predicted: Table

    def to_dict(self) -> dict[str, JsonValue]:
        """The witness as plain JSON."""
        return {
            "tables": {name: table.to_dict() for name, table in self.tables.items()},
            "gold": self.gold.to_dict(),
            "predicted": self.predicted.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Witness:
        """The inverse of `to_dict`."""
        return cls(
            {name: Table.from_dict(table) for name, table in data["tables"].items()},
            Table.from_dict(data["gold"]),
            Table.from_dict(data["predicted"]),
        )


@dataclass(frozen=True)
class Verdict:
    """Whether a predicted query means the same as the gold query on every database of a schema.

    Attributes:
        status: ``equivalent``; ``different`` (they disagree on a database); ``error`` (the prediction does not parse or
            run); ``timeout`` (it exceeds the time or memory budget); ``refused`` (it is not a read-only query);
            ``undecided`` (the evaluator cannot decide, for a reason that lies with the gold query or with itself).
        reason: One sentence for a person.
        witness: For ``different``, the smallest database found on which the results differ.
        strict: Equal as bags of rows with columns in order, and in row order (up to ties) if the gold query sorts.
        lenient: Equal as sets of rows, with the columns in some order and the rows in any.
        databases: How many databases were compared.
        informative: How many of them were telling: the gold query returned something other than nothing or NULLs.
        proof: What ``equivalent`` rests on, see `Proof`; None for any other status, and in files of earlier versions.
        bound: Of a ``bounded`` proof, how many rows a table may have.
        unused_database: Why the real database that was given took no part; None if it did, or none was given.
        judged_on: The engine and its version where it is another than SQLite; ``sqlite (transpiled)`` where the queries
            were translated because the caller asked for it.
    """

    status: Status
    reason: str
    witness: Witness | None = None
    strict: bool = False
    lenient: bool = False
    databases: int = field(default=0, compare=False)
    informative: int = field(default=0, compare=False)
    unused_database: str | None = None
    proof: Proof | None = None
    bound: int | None = None
    judged_on: str | None = None

    @property
    def correct(self) -> bool:
        """What accuracy counts: equivalent under the strict convention."""
        return self.status == "equivalent" and self.strict

    def to_dict(self) -> dict[str, JsonValue]:
        """The verdict as plain JSON."""
        return {
            "status": self.status,
            "correct": self.correct,
            "reason": self.reason,
            "strict": self.strict,
            "lenient": self.lenient,
            "databases": self.databases,
            "informative": self.informative,
            # Absent where they say nothing.
            **({"proof": self.proof} if self.proof else {}),
            **({"bound": self.bound} if self.bound else {}),
            **({"unused_database": self.unused_database} if self.unused_database else {}),
            **({"judged_on": self.judged_on} if self.judged_on else {}),
            "witness": self.witness.to_dict() if self.witness else None,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """The inverse of `to_dict`."""
        witness = data.get("witness")
        return cls(
            status=data["status"],
            reason=data["reason"],
            witness=Witness.from_dict(witness) if witness else None,
            strict=data["strict"],
            lenient=data["lenient"],
            databases=data.get("databases", 0),
            informative=data.get("informative", 0),
            unused_database=data.get("unused_database"),
            proof=data["proof"] if data.get("proof") in PROOFS else None,
            bound=data["bound"] if isinstance(data.get("bound"), int) else None,
            judged_on=data.get("judged_on"),
        )

"""What the evaluator says about one pair of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import JsonValue

from text2sql.sql.values import Row, Value

if TYPE_CHECKING:
    from text2sql.sql.sandbox import QueryFailed

Status = Literal["equivalent", "different", "error", "timeout", "refused", "undecided"]
# What an ``equivalent`` rests on: both queries have one normal form; databases that told nothing apart and a proof for
# all small databases; or such databases alone.
Proof = Literal["canonical", "bounded", "tested"]
PROOFS: tuple[Proof, ...] = ("canonical", "bounded", "tested")
# Why a verdict is ``undecided``, where a caller acts on it: the gold query does not run; the engine may have gone.
Cause = Literal["gold_failed", "engine_lost"]
STATUSES: tuple[Status, ...] = ("equivalent", "different", "error", "timeout", "refused", "undecided")


def _value_to_json(value: Value) -> JsonValue:
    """A value as JSON has it; bytes become ``{"hex": ...}`` and infinities their name."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return {"float": str(value)}
    return value


def _value_from_json(value: Any) -> Value:
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
        return {"columns": list(self.columns), "rows": [[_value_to_json(v) for v in row] for row in self.rows]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Table:
        """The inverse of `to_dict`."""
        return cls(tuple(data["columns"]), tuple(tuple(_value_from_json(v) for v in row) for row in data["rows"]))


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
        informative: On how many of them the gold query returned something other than nothing or NULLs.
        proof: What ``equivalent`` rests on, see `Proof`; None for any other status, and in files of earlier versions.
        bound: Of a ``bounded`` proof, how many rows a table may have.
        unused_database: Why the real database that was given took no part; None if it did, or none was given.
        judged_on: The engine and its version where it is another than SQLite; ``sqlite (transpiled)`` where the queries
            were translated because the caller asked for it.
        cause: Why it is ``undecided``, where a caller acts on it; known to this process only, and in no file.
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
    cause: Cause | None = field(default=None, compare=False)

    @classmethod
    def equivalent(cls, reason: str, proof: Proof, *, databases: int, informative: int) -> Verdict:
        """Both queries mean the same."""
        return cls(
            "equivalent",
            reason,
            strict=True,
            lenient=True,
            databases=databases,
            informative=informative,
            proof=proof,
        )

    @classmethod
    def different(cls, reason: str, witness: Witness, *, lenient: bool, databases: int, informative: int) -> Verdict:
        """The queries disagree on the witness."""
        return cls("different", reason, witness, lenient=lenient, databases=databases, informative=informative)

    @classmethod
    def undecided(cls, reason: str, *, databases: int = 0, informative: int = 0, cause: Cause | None = None) -> Verdict:
        """The evaluator cannot decide."""
        return cls("undecided", reason, databases=databases, informative=informative, cause=cause)

    @classmethod
    def failed(cls, failure: QueryFailed) -> Verdict:
        """The prediction gives no result."""
        if failure.kind == "refused":
            return cls("refused", f"The prediction is refused: {failure}.")
        if failure.kind == "timeout":
            return cls("timeout", f"The prediction was stopped: {failure}.")
        return cls("error", f"The prediction does not run: {failure}.")

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

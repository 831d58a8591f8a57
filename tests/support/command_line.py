"""What a command line printed, and the shop that its tests ask about."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The error, asserted to be one message and no traceback."""
        assert self.code == 2, (self.out, self.err)
        assert self.err.startswith("Error ") and "Traceback" not in self.err
        assert self.err.count("\n") == 1
        return self.err.removeprefix("Error ").rstrip("\n")


SHOP = "CREATE TABLE goods (name TEXT, price REAL)"

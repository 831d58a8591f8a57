"""Fuzzes the evaluator: schema, gold query and prediction are made up, mutated or hostile; each must get a verdict.

Usage: python scripts/fuzz_evaluator.py [--seconds 60] [--seed 0] [--data DIR] [--slow 6]

Pairs are drawn from four sources in turn: random text, random SQL by a grammar, real queries cut up and spliced
(``sql_create_context.json`` in DIR, if it is there), and hostile fragments put into any of these. A pair fails if the
evaluator raises, reports an internal failure, takes longer than ``--slow`` seconds of processor time, or leaves a file
behind. Failing pairs are printed as JSON; the exit status is 1 if there were any.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from text2sql.equivalence.verdict import STATUSES
from text2sql.evaluation import Verdict, execution_match
from text2sql.sql.tokens import tokenize

Triple = tuple[str, str, str]

SCHEMA = """CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT NOT NULL, founded INT, league VARCHAR, budget REAL);
CREATE TABLE player (id INTEGER PRIMARY KEY, team_id INTEGER REFERENCES team(id), name TEXT, born DATE, goals INT,
  CHECK (goals >= 0), UNIQUE (name, born))"""
COLUMNS = ["id", "name", "founded", "league", "budget", "team_id", "born", "goals", "team.id", "player.name", "*", "x"]
VALUES = [
    "1",
    "0",
    "-7",
    "2.5",
    "1e400",
    "9223372036854775808",
    "'a'",
    "''",
    "'%'",
    "'2001-01-02'",
    '"name"',
    '"zz"',
    "NULL",
]
HOSTILE = [
    "randomblob(1000000000)",
    "zeroblob(2147483647)",
    "printf('%.*c', 1000000000, 'x')",
    "printf('%1000000000d', 1)",
    "replace(hex(zeroblob(9000)), '0', 'aa')",
    "(hex(zeroblob(4000)) LIKE '%0%0%0%0%0%0%0%0%0%0%0%0%1')",
    "(hex(zeroblob(4000)) GLOB '*0*0*0*0*0*0*0*0*0*0*1')",
    "load_extension('/tmp/x')",
    "readfile('/etc/passwd')",
    "(SELECT group_concat(name) FROM sqlite_master)",
    "(SELECT 1 FROM pragma_table_info('team'))",
    "(WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r) SELECT MAX(x) FROM r)",
    "(SELECT COUNT(*) FROM player a, player b, player c, player d, player e, player f, player g, player h)",
    "group_concat(hex(zeroblob(9000)))",
    "json_group_array(zeroblob(1))",
    "abs(-9223372036854775808)",
    "likelihood(1, 0.5)",
    "char(0, 55296, 1114111)",
    "'" + "x" * 50_000 + "'",
    "(" * 400 + "1" + ")" * 400,
    "\x00",
    "\ud800",
    "; DROP TABLE team; --",
    "; ATTACH '/tmp/fuzz.db' AS z; --",
    "; VACUUM INTO '/tmp/fuzz.db'; --",
    "PRAGMA writable_schema = ON",
    "CREATE TABLE z AS SELECT 1",
    "INSERT INTO team VALUES (1)",
    "```sql\n",
    "/*",
    "'",
    '"',
    "`",
    "[",
]


class Fuzzer:
    """Draws triples of schema, gold query and prediction."""

    def __init__(self, seed: int, real: list[dict[str, str]]) -> None:
        self._rng = random.Random(seed)
        self._real = real
        self._db = sqlite3.connect(":memory:")
        self._db.executescript(SCHEMA)

    def draw(self) -> Triple:
        """The next triple."""
        rng = self._rng
        source = rng.choice((self._text, self._grammar, self._grammar, self._spliced, self._spliced))
        schema, gold, predicted = source()
        parts = [schema, gold, predicted]
        if rng.random() < 0.4:
            place = rng.choice((0, 1, 2, 2, 2))
            parts[place] = self._poisoned(parts[place])
        if rng.random() < 0.1:
            place = rng.randrange(3)
            cut = rng.randrange(len(parts[place]) + 1)
            parts[place] = parts[place][:cut] if rng.random() < 0.5 else parts[place][cut:]
        return parts[0], parts[1], parts[2]

    def _text(self) -> Triple:
        rng = self._rng

        def some() -> str:
            return "".join(
                chr(rng.choice((rng.randrange(32, 127), rng.randrange(1, 0xFFFF)))) for _ in range(rng.randrange(60))
            )

        return rng.choice((SCHEMA, some())), rng.choice(("SELECT name FROM team", some())), some()

    def _grammar(self) -> Triple:
        # Queries that run are compared; the others are only refused.
        return SCHEMA, self._running(), self._running() if self._rng.random() < 0.7 else self._query(2)

    def _running(self) -> str:
        for _ in range(20):
            sql = self._query(2)
            if self._runs(sql):
                return sql
        return "SELECT name FROM player"

    def _runs(self, sql: str) -> bool:
        try:
            self._db.execute(f"EXPLAIN {sql}").close()
        except (sqlite3.Error, sqlite3.Warning):
            return False
        return True

    def _spliced(self) -> Triple:
        rng = self._rng
        if not self._real:
            return self._grammar()
        row, other = rng.choice(self._real), rng.choice(self._real)
        words = [token.text for token in tokenize(row["answer"])]
        donor = [token.text for token in tokenize(other["answer"])]
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(words) + 1)
            action = rng.randrange(4)
            if action == 0 and words:
                words.pop(at % len(words))
            elif action == 1:
                words.insert(at, rng.choice(donor))
            elif action == 2:
                words[at : at + 3] = words[at : at + 3][::-1]
            else:
                words[at:at] = donor[rng.randrange(len(donor)) :][:6]
        return rng.choice((row["context"], row["context"] + "; " + other["context"])), row["answer"], " ".join(words)

    def _poisoned(self, text: str) -> str:
        rng = self._rng
        poison = rng.choice(HOSTILE)
        tokens = tokenize(text)
        if not tokens or rng.random() < 0.15:
            return poison
        token = rng.choice(tokens)
        return text[: token.start] + poison + text[token.end if rng.random() < 0.6 else token.start :]

    def _query(self, depth: int) -> str:
        rng = self._rng
        if depth and rng.random() < 0.15:
            word = rng.choice(("UNION", "UNION ALL", "INTERSECT", "EXCEPT"))
            return f"{self._query(depth - 1)} {word} {self._query(depth - 1)}"
        items = ", ".join(self._item(depth) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        text = f"SELECT {rng.choice(('', '', 'DISTINCT '))}{items} FROM {self._source(depth)}"
        if rng.random() < 0.7:
            text += f" WHERE {self._condition(depth)}"
        if rng.random() < 0.3:
            text += f" GROUP BY {rng.choice(COLUMNS[:10])}"
            if rng.random() < 0.5:
                text += f" HAVING {self._condition(depth, aggregate=True)}"
        if rng.random() < 0.3:
            text += f" ORDER BY {self._item(0)}{rng.choice(('', ' DESC', ' ASC NULLS LAST'))}"
        if rng.random() < 0.3:
            text += f" LIMIT {rng.choice(('1', '3', '0', '-1', '1 + 1', '2 OFFSET 1', '1, 2'))}"
        return text

    def _source(self, depth: int) -> str:
        rng = self._rng
        if depth and rng.random() < 0.15:
            return f"({self._query(depth - 1)}) AS x"
        return rng.choice(
            (
                "team",
                "player",
                "team JOIN player ON team.id = player.team_id",
                "player LEFT JOIN team ON team.id = team_id",
                "team, player",
                "team NATURAL JOIN player",
                "player p JOIN player q ON p.id < q.id JOIN team ON team.id = q.team_id",
            )
        )

    def _item(self, depth: int) -> str:
        rng = self._rng
        column = rng.choice(COLUMNS)
        return rng.choice(
            (
                column,
                column,
                f"COUNT({column})",
                f"{rng.choice(('MAX', 'MIN', 'AVG', 'SUM', 'TOTAL', 'GROUP_CONCAT', 'COUNT'))}(DISTINCT {column})",
                f"{column} {rng.choice(('+', '/', '%', '||', '->>', '&', '<<'))} {rng.choice(VALUES)}",
                f"CASE WHEN {self._condition(0)} THEN {column} ELSE {rng.choice(VALUES)} END",
                f"CAST({column} AS {rng.choice(('INTEGER', 'REAL', 'TEXT', 'DATE', 'BLOB', 'foo'))})",
                f"strftime('%{rng.choice('YmdHjQ')}', {column})",
                f"RANK() OVER (PARTITION BY {column} ORDER BY {rng.choice(COLUMNS)})",
                f"({self._query(depth - 1)})" if depth else column,
            )
        )

    def _condition(self, depth: int, *, aggregate: bool = False) -> str:
        rng = self._rng
        left = rng.choice(("COUNT(*)", "AVG(goals)", "SUM(budget)")) if aggregate else rng.choice(COLUMNS)
        kind = rng.randrange(9)
        if kind == 0:
            return f"{self._condition(0)} {rng.choice(('AND', 'OR'))} NOT {self._condition(0)}"
        if kind == 1:
            return f"{left} LIKE {rng.choice(VALUES)}"
        if kind == 2:
            return f"{left} BETWEEN {rng.choice(VALUES)} AND {rng.choice(VALUES)}"
        if kind == 3:
            return f"{left} IN ({', '.join(rng.choice(VALUES) for _ in range(rng.randrange(4)))})"
        if kind == 4 and depth:
            return f"{left} {rng.choice(('IN', 'NOT IN', '=', '>'))} ({self._query(depth - 1)})"
        if kind == 5 and depth:
            return f"EXISTS ({self._query(depth - 1)})"
        if kind == 6:
            return f"{left} IS {rng.choice(('', 'NOT '))}NULL"
        return f"{left} {rng.choice(('=', '<>', '<', '>=', '==', 'IS'))} {rng.choice((*VALUES, *COLUMNS))}"


def judge(triple: Triple, slow: float) -> tuple[str, str]:
    """Status of a triple, and what is wrong with the evaluator's answer, if anything."""
    start = time.process_time()
    try:
        verdict = execution_match(*triple)
    # Nothing that is raised here may end the run.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "raised", f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    if verdict.status not in STATUSES or not verdict.reason:
        return verdict.status, "no status or no reason"
    if "evaluator failed" in verdict.reason:
        return verdict.status, verdict.reason
    if Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))).to_dict() != verdict.to_dict():
        return verdict.status, "does not survive JSON"
    return verdict.status, f"took {seconds:.1f} s" if seconds > slow else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=6.0, help="seconds of processor time that a pair may take")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("TEXT2SQL_DATA", "data")),
        help="directory of sql_create_context.json; without it no real queries are cut up",
    )
    args = parser.parse_args()
    path = args.data / "sql_create_context.json"
    real = random.Random(0).sample(json.loads(path.read_text()), 5000) if path.is_file() else []
    print(f"{len(real)} real queries to cut up" if real else f"no {path}: without real queries", flush=True)
    fuzzer = Fuzzer(args.seed, real)
    statuses: Counter[str] = Counter()
    failures, slowest, home = 0, 0.0, os.getcwd()
    end = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            while time.monotonic() < end:
                triple = fuzzer.draw()
                start = time.process_time()
                status, wrong = judge(triple, args.slow)
                slowest = max(slowest, time.process_time() - start)
                left = sorted(os.listdir(directory)) + [name for name in ("/tmp/fuzz.db",) if os.path.exists(name)]
                if left:
                    wrong = f"left behind {', '.join(left)}"
                statuses[status] += 1
                if wrong:
                    failures += 1
                    print(json.dumps({"wrong": wrong, "triple": triple})[:3000], flush=True)
        finally:
            os.chdir(home)
    print(f"{sum(statuses.values())} pairs: " + ", ".join(f"{n} {name}" for name, n in statuses.most_common()))
    print(f"{failures} failures; slowest {slowest:.2f} s of processor time")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

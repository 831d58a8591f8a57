"""The share of a file's gold queries that can be judged, by dialect: cleaned, run, and equal to themselves.

    python scripts/share_judged.py rows.jsonl [--dialects sqlite postgres duckdb mysql] [--show]

As SQLite is what rows of mixed dialects were before they had any other. "Any" counts a row where one of the dialects
can judge it, as with a column `dialect` in the rows. Servers are those of `docs/dialects.md`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from text2sql.config import SourceConfig
from text2sql.data.example import Example
from text2sql.data.sources import load_examples
from text2sql.engines.dialect import DIALECTS, Dialect, read_dialect
from text2sql.evaluation import Pair, Verdict, score_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dialects", nargs="*", default=list(DIALECTS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print the rows that no dialect judges, with reasons")
    args = parser.parse_args()
    examples = load_examples(SourceConfig(source=str(args.file)))
    dialects = [read_dialect(name, "--dialects") for name in args.dialects]
    found = {dialect: judged(examples, dialect, args.workers) for dialect in dialects}
    for dialect, verdicts in found.items():
        print(f"{dialect}: {_share([verdict.correct for verdict in verdicts])}")
    every = [any(found[dialect][place].correct for dialect in dialects) for place in range(len(examples))]
    print(f"any: {_share(every)}")
    only = Counter(
        dialects[0] if found[dialects[0]][place].correct else next(d for d in dialects if found[d][place].correct)
        for place, judged_there in enumerate(every)
        if judged_there
    )
    print("the first that judges a row: " + ", ".join(f"{name} {count}" for name, count in only.most_common()))
    for place, example in enumerate(examples):
        if args.show and not every[place]:
            print(f"\n{example.answer}")
            for dialect in dialects:
                print(f"  {dialect}: {found[dialect][place].status}: {found[dialect][place].reason}")


def judged(examples: Sequence[Example], dialect: Dialect, workers: int) -> list[Verdict]:
    """The verdict on each gold query against itself."""
    pairs = [Pair(example.context, example.answer, example.answer, None, dialect) for example in examples]
    verdicts = dict(score_pairs(pairs, workers=workers))
    return [verdicts[place] for place in range(len(pairs))]


def _share(found: Sequence[bool]) -> str:
    return f"{sum(found)} of {len(found)} ({sum(found) / len(found):.0%})"


if __name__ == "__main__":
    main()

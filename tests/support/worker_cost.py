"""Prints what workers cost that judge hostile texts: a process that nothing else has made large measures them.

A child counts its parent's memory as its own until it runs its own program, so the tests' process cannot.
"""

from __future__ import annotations

import json
import resource
import sys

from text2sql.equivalence.processes.process_pool import close_pools
from text2sql.equivalence.scoring import Pair, score_pairs


def main() -> None:
    """Reads schema, gold query and predictions from standard input; writes status, seconds and KiB of each."""
    schema, gold, predictions = json.load(sys.stdin)
    for text in predictions:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        ((_, verdict),) = score_pairs([Pair(schema, gold, text)])
        # The system counts a process once it has ended.
        close_pools()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(json.dumps([verdict.status, spent, after.ru_maxrss]), flush=True)


if __name__ == "__main__":
    main()

"""pass@k of answers of which all are judged."""

from __future__ import annotations

from collections.abc import Sequence

from text2sql.evaluation.statistics import mean_interval, pass_at_k
from text2sql.runs.evaluation_summary import PassAtK
from text2sql.runs.records import Prediction


def summarize_passes(rows: Sequence[Prediction]) -> tuple[PassAtK, ...] | None:
    """pass@k for k = 1, 2, 4, ... up to the number of samples; None where not all samples of all rows are judged."""
    counts = [(row.right_samples, row.samples) for row in rows if row.right_samples is not None]
    if not counts or len(counts) < len(rows):
        return None
    most = min(samples for _, samples in counts)
    ks = [2**power for power in range(most.bit_length()) if 2**power <= most]
    clusters = [row.cluster if row.cluster is not None else row.id for row in rows]
    found = []
    for k in dict.fromkeys([*ks, most]):
        values = [pass_at_k(right, samples, k) for right, samples in counts]
        low, high = mean_interval(values, clusters)
        found.append(PassAtK(k=k, value=sum(values) / len(values), low=low, high=high))
    return tuple(found)

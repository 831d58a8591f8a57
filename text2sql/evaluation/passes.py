"""pass@k of an evaluation in which every sample is scored."""

from __future__ import annotations

from collections.abc import Sequence

from text2sql.evaluation.statistics import mean_interval, pass_at_k
from text2sql.runs.evaluation_summary import PassAtK
from text2sql.runs.records import Prediction


def summarize_passes(rows: Sequence[Prediction]) -> tuple[PassAtK, ...] | None:
    """pass@k for k = 1, 2, 4, ... up to the number of samples; None unless all samples of all rows are scored."""
    counts = [(row.right_samples, row.samples) for row in rows if row.right_samples is not None]
    if not counts or len(counts) < len(rows):
        return None
    max_k = min(samples for _, samples in counts)
    ks = [2**power for power in range(max_k.bit_length()) if 2**power <= max_k]
    clusters = [row.cluster if row.cluster is not None else row.id for row in rows]
    rates = []
    for k in dict.fromkeys([*ks, max_k]):
        values = [pass_at_k(right, samples, k) for right, samples in counts]
        low, high = mean_interval(values, clusters)
        rates.append(PassAtK(k=k, value=sum(values) / len(values), low=low, high=high))
    return tuple(rates)

"""Dask as an executor for verdicts: what `docs/evaluation.md` shows, on a cluster of this machine."""

from __future__ import annotations

from concurrent.futures import Executor

from distributed import Client, LocalCluster


def two_workers() -> Executor:
    """An executor on two processes."""
    return Client(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)).get_executor()

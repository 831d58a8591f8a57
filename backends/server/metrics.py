"""What is going on: Prometheus metrics and a plain page."""

from __future__ import annotations

import html
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from tinker import types

from backends.server.futures import Failure, Promise

if TYPE_CHECKING:
    from backends.server.state import Server

WINDOW = 60.0  # seconds over which the page's rates are taken


class Metrics:
    """Counters of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.registry = CollectorRegistry()
        self.started = time.time()
        self.recent: deque[tuple[float, str, int]] = deque()  # time, kind, tokens
        self.errors: deque[tuple[float, str, str]] = deque(maxlen=50)  # time, owner, message
        names: Any = {"registry": self.registry, "namespace": "text2sql_server"}
        self.requests = Counter("http_requests", "HTTP requests", ["route", "status"], **names)
        self.tokens = Counter("tokens", "Tokens trained on, sampled, or read as prompts", ["kind"], **names)
        self.failures = Counter("failed_requests", "Requests that failed", ["category"], **names)
        for name, text, read in (
            ("queued_requests", "Requests that wait for the device", server.scheduler.queued),
            ("device_busy_seconds", "Time that the device has worked", lambda: server.scheduler.busy_seconds),
            ("models_on_device", "Models in training on the device", lambda: server.device.counts()[0]),
            ("models_parked", "Models in training in main memory", lambda: server.device.counts()[1]),
        ):
            Gauge(name, text, **names).set_function(read)

    def count(self, kind: str, tokens: int) -> None:
        """Count tokens of a kind: trained, sampled or prompt."""
        self.tokens.labels(kind).inc(tokens)
        self.recent.append((time.monotonic(), kind, tokens))
        while self.recent and self.recent[0][0] < time.monotonic() - WINDOW:
            self.recent.popleft()

    def sampled(self, response: types.SampleResponse, prompt_length: int) -> None:
        """Count a response's tokens."""
        self.count("prompt", prompt_length)
        self.count("sampled", sum(len(sequence.tokens) for sequence in response.sequences))

    def failed(self, promise: Promise, answer: Failure) -> None:
        """Count a failure, and keep it for the page of its owner."""
        self.failures.labels(answer.category).inc()
        self.errors.append((time.time(), promise.owner, answer.message))

    def text(self) -> bytes:
        """All metrics in Prometheus's format."""
        return generate_latest(self.registry)

    def page(self, owner: str) -> str:
        """The status page; errors are shown to their owner alone."""
        server = self._server
        resident, parked = server.device.counts()
        since = time.monotonic() - WINDOW
        rates = {
            kind: sum(n for at, k, n in self.recent.copy() if k == kind and at > since) / WINDOW
            for kind in ("trained", "sampled")
        }
        facts: dict[str, str] = {
            "Base models": ", ".join(server.settings.base_models),
            "Up since": datetime.fromtimestamp(self.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "Models in training": f"{resident} on the device, {parked} parked",
            "Requests waiting": str(server.scheduler.queued()),
            f"Tokens a second (last {WINDOW:.0f} s)": f"{rates['trained']:.0f} trained, {rates['sampled']:.0f} sampled",
            "Memory": memory(),
        }
        lanes = [(lane.name, len(lane.waiting())) for lane in server.scheduler.lanes() if lane.owner == owner]
        errors = [
            (datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S"), message)
            for at, whose, message in reversed(self.errors.copy())
            if whose == owner
        ]
        return PAGE.format(
            facts=_rows(facts.items()),
            lanes=_rows(lanes) or "<tr><td>none</td></tr>",
            errors=_rows(errors) or "<tr><td>none</td></tr>",
        )


def memory() -> str:
    """Memory of this process, and of its GPU."""
    import resource

    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    text = f"{peak:,.0f} MiB at most"
    if torch.cuda.is_available():
        text += f"; GPU {torch.cuda.memory_allocated() / 2**20:,.0f} MiB"
    return text


def _rows(pairs: Any) -> str:
    return "".join(f"<tr><th>{html.escape(str(a))}</th><td>{html.escape(str(b))}</td></tr>" for a, b in pairs)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="10"><title>text2sql serve</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} th {{ text-align: left; font-weight: 500; padding-right: 2rem; color: #555; }}
td, th {{ border-bottom: 1px solid #ddd; padding-top: .2rem; vertical-align: top; }}
</style></head><body>
<h1>text2sql serve</h1>
<table>{facts}</table>
<h2>Your models and samplers: requests waiting</h2><table>{lanes}</table>
<h2>Your recent errors</h2><table>{errors}</table>
<p><a href="metrics">Metrics</a></p>
</body></html>
"""

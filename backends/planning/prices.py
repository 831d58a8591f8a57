"""What the Tinker API charges, in dollars for a million tokens.

`PRICES` is a default: Tinker's public price list (https://thinkingmachines.ai/tinker) as several public projects had
copied it by early 2026, not fetched by this project. Prices change and models come and go, so `tinker.prices` in a
configuration goes before it, and a model that is in neither has no known price.
"""

from __future__ import annotations

from backends.options import Prices

DATED = "early 2026"
SOURCE = f"Tinker's public price list as of {DATED}"


def _prices(train: float, prefill: float, sample: float) -> Prices:
    return Prices(train=train, prefill=prefill, sample=sample)


PRICES = {
    "meta-llama/Llama-3.2-1B": _prices(0.09, 0.03, 0.09),
    "meta-llama/Llama-3.2-3B": _prices(0.18, 0.06, 0.18),
    "meta-llama/Llama-3.1-8B": _prices(0.40, 0.13, 0.40),
    "meta-llama/Llama-3.1-8B-Instruct": _prices(0.40, 0.13, 0.40),
    "meta-llama/Llama-3.1-70B": _prices(3.16, 1.05, 3.16),
    "meta-llama/Llama-3.3-70B-Instruct": _prices(3.16, 1.05, 3.16),
    "Qwen/Qwen3-4B-Instruct-2507": _prices(0.22, 0.07, 0.22),
    "Qwen/Qwen3-8B": _prices(0.40, 0.13, 0.40),
    "Qwen/Qwen3-8B-Base": _prices(0.40, 0.13, 0.40),
    "Qwen/Qwen3-30B-A3B": _prices(0.36, 0.12, 0.30),
    "Qwen/Qwen3-30B-A3B-Base": _prices(0.36, 0.12, 0.30),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": _prices(0.36, 0.12, 0.30),
    "Qwen/Qwen3-32B": _prices(1.47, 0.49, 1.47),
    "Qwen/Qwen3-235B-A22B-Instruct-2507": _prices(2.04, 0.68, 1.70),
    "Qwen/Qwen3.5-4B": _prices(0.67, 0.22, 0.67),
    "Qwen/Qwen3.5-27B": _prices(3.73, 1.24, 3.73),
    "Qwen/Qwen3.5-35B-A3B": _prices(1.07, 0.36, 0.89),
    "openai/gpt-oss-20b": _prices(0.36, 0.12, 0.30),
    "openai/gpt-oss-120b": _prices(0.52, 0.18, 0.44),
}


def find_prices(model: str, given: Prices | None) -> tuple[Prices, str] | None:
    """The prices of a model and where they are from; None where nobody knows them."""
    if given is not None:
        return given, "tinker.prices"
    return (PRICES[model], SOURCE) if model in PRICES else None

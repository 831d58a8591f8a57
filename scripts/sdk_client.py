"""What a client of the installed tinker SDK gets of a server, as JSON: numbers that must not depend on its version.

    python scripts/sdk_client.py URL MODEL

Trains an adapter for two steps, saves and loads, samples, scores, lists, downloads and deletes, by what every version
since 0.30 has.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import sys
import tarfile
import urllib.request
import warnings
from typing import Any

import numpy as np
import tinker
from tinker import types


def main() -> None:
    """Run and print."""
    url, model = sys.argv[1:]
    warnings.simplefilter("ignore")
    service = tinker.ServiceClient(base_url=url)
    offered = [offer.model_name for offer in service.get_server_capabilities().supported_models]
    training = service.create_lora_training_client(model, rank=4, seed=3)
    losses = [_step(training) for _ in range(2)]
    scored = training.forward(_data(), "cross_entropy").result()
    state = training.save_state("state").result().path
    weights = training.save_weights_for_sampler("weights").result().path
    sampler = service.create_sampling_client(model_path=weights)
    prompt = types.ModelInput.from_ints([5, 6, 7, 8])
    params = types.SamplingParams(max_tokens=8, temperature=1.0, seed=5, stop=[])
    answers = sampler.sample(prompt, 2, params).result().sequences
    again = service.create_training_client_from_state_with_optimizer(state)
    rest = service.create_rest_client()
    listed = rest.list_checkpoints(training.model_id).result().checkpoints
    archive = rest.get_checkpoint_archive_url_from_tinker_path if _has_archives(rest) else None
    rest.delete_checkpoint_from_tinker_path(state).result()
    print(
        json.dumps(
            {
                "version": importlib.metadata.version("tinker"),
                "numbers": {
                    "losses": losses,
                    "logprobs": scored.loss_fn_outputs[0]["logprobs"].data,
                    "sampled": [list(answer.tokens) for answer in answers],
                    "their logprobs": [list(answer.logprobs or ()) for answer in answers],
                    "scores": sampler.compute_logprobs(prompt).result(),
                    "loss after loading": _step(again),
                    "model": model in offered,
                    "checkpoints": sorted(c.checkpoint_type for c in listed),
                    "left": len(rest.list_checkpoints(training.model_id).result().checkpoints),
                    "gradients of one's own loss": _own_loss(training),
                },
                "archive": _archive(archive, weights) if archive else "this version has external weights in its place",
            }
        )
    )


def _step(training: Any) -> float:
    forward = training.forward_backward(_data(), "cross_entropy")
    training.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    return float(forward.result().metrics["loss:sum"])


def _own_loss(training: Any) -> float:
    def loss(data: Any, logprobs: Any) -> Any:
        total = sum(-each.sum() for each in logprobs)
        return total, {"own": float(total)}

    return float(training.forward_backward_custom(_data(), loss).result().metrics["own"])


def _data() -> list[Any]:
    rng = np.random.default_rng(0)
    made = []
    for length in (9, 14, 6):
        ids = rng.integers(5, 200, length + 1)
        weights = np.ones(length, dtype=np.float32)
        inputs: Any = {"target_tokens": ids[1:], "weights": weights}
        made.append(types.Datum(model_input=types.ModelInput.from_ints(ids[:-1].tolist()), loss_fn_inputs=inputs))
    return made


def _has_archives(rest: Any) -> bool:
    return hasattr(rest, "get_checkpoint_archive_url_from_tinker_path")


def _archive(ask: Any, path: str) -> str:
    """What an older version's download holds, or what the server says of it."""
    try:
        with urllib.request.urlopen(ask(path).result().url) as answer:
            return ", ".join(sorted(tarfile.open(fileobj=io.BytesIO(answer.read())).getnames()))
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]


if __name__ == "__main__":
    main()

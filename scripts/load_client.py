"""One client of `load_server.py`: it trains, saves, samples, deletes, and knows what every answer must be.

It is a process of its own user, which may be killed at any moment: what it was told is in its file of events.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TINKER_TELEMETRY", "0")

import numpy as np
import tinker
from tinker import types

# Of one model, before the client begins another.
STEPS = 24
SAVE_EVERY = 3
SAMPLE_EVERY = 4
KEPT = 2
PAUSE_SECONDS = 0.3
ADAM = types.AdamParams(learning_rate=1e-2)
PROMPT = types.ModelInput.from_ints([5, 6, 7])
SAMPLING = types.SamplingParams(max_tokens=12, temperature=1.0, seed=11)
RETRIED = (tinker.TinkerError, ValueError, RuntimeError, OSError)
WEIGHTS = ("adapter_model.safetensors", "optimizer.safetensors")


@dataclass(frozen=True)
class Expected:
    """What an undisturbed client sees.

    Attributes:
        losses: At each step.
        samples: Tokens by step, as text since JSON has no other keys.
        digest: Of the weights and the optimiser after the last step.
    """

    losses: list[float]
    samples: dict[str, list[list[int]]]
    digest: str


def datums(client: int, step: int) -> list[types.Datum]:
    """A client's data at a step."""
    rng = np.random.default_rng((client, step))
    made = []
    for _ in range(2):
        ids = rng.integers(1, 500, 13)
        inputs: Any = {"target_tokens": ids[1:], "weights": np.ones(12, dtype=np.float32)}
        made.append(types.Datum(types.ModelInput.from_ints(ids[:-1].tolist()), inputs))
    return made


def train(trainer: Any, client: int, step: int) -> float:
    """One step; its loss."""
    forward = trainer.forward_backward(datums(client, step), "cross_entropy")
    trainer.optim_step(ADAM).result()
    return forward.result().metrics["loss:sum"]


def sample(trainer: Any) -> list[list[int]]:
    """What a model samples now."""
    sampler = trainer.save_weights_and_get_sampling_client().result()
    return [list(sequence.tokens) for sequence in sampler.sample(PROMPT, 2, SAMPLING).result().sequences]


def digest(checkpoint: Path) -> str:
    """Of a checkpoint's weights and optimiser."""
    return hashlib.sha256(b"".join((checkpoint / name).read_bytes() for name in WEIGHTS)).hexdigest()


def undisturbed(model: str, client: int, checkpoints: Path) -> Expected:
    """A client's whole training in this process, without a server."""
    from backends import open_backend
    from backends.options import LocalOptions

    service = open_backend("local", LocalOptions(unscored_logprobs=True, device="cpu"), checkpoints=checkpoints)
    trainer = service.create_lora_training_client(model, rank=2, seed=client).result()
    losses, samples = [], {}
    for step in range(STEPS):
        losses.append(train(trainer, client, step))
        if step % SAMPLE_EVERY == 0:
            samples[str(step)] = sample(trainer)
    path = trainer.save_state("end").result().path
    made = Expected(losses, samples, digest(service.store.locate(path)))
    service.close()
    return made


class Client:
    """A client, from where its file of events says it was.

    Args:
        url: Address of the server.
        key: Its user's key.
        model: Name of the base model.
        number: Which client.
        expected: What it must see.
    """

    def __init__(self, url: str, key: str, model: str, number: int, expected: Expected) -> None:
        self.url, self.key, self.model, self.number, self.expected = url, key, model, number, expected
        self.log = events_of(number)
        self.rest: Any = None

    def write(self, kind: str, **details: Any) -> None:
        """Note an event; a line is short enough to be written at once."""
        with self.log.open("a") as file:
            file.write(json.dumps({"kind": kind, "at": time.time(), **details}) + "\n")

    def live(self, stop: threading.Event) -> None:
        """Train one model after the other until asked to stop, and after a fault go on from the last save."""
        while not stop.is_set():
            try:
                self.rest = tinker.RestClient(base_url=self.url, api_key=self.key)
                service = tinker.ServiceClient(base_url=self.url, api_key=self.key)
                self.train_one(service, stop)
                service.close("success").result()
            except RETRIED as error:
                self.write("fault", error=f"{type(error).__name__}: {error}"[:300])
                stop.wait(1)

    def train_one(self, service: Any, stop: threading.Event) -> None:
        """Train a model to its end, from the last save if there is one."""
        path, done = last_save(self.log)
        if path is None:
            trainer = service.create_lora_training_client(self.model, rank=2, seed=self.number).result()
        else:
            trainer = service.create_training_client_from_state_with_optimizer(path).result()
            self.write("resumed", path=path)
        for step in range(done, STEPS):
            if stop.wait(random.uniform(0, PAUSE_SECONDS)):
                return
            loss = train(trainer, self.number, step)
            self.compare("step", step, loss, self.expected.losses[step])
            if step % SAMPLE_EVERY == 0:
                self.compare("sample", step, sample(trainer), self.expected.samples[str(step)])
            if (step + 1) % SAVE_EVERY == 0:
                path = trainer.save_state(f"{self.number}-{step}-{time.time_ns()}").result().path
                self.write("saved", path=path, step=step + 1)
                self.delete_old()
        self.write("finished", path=path)

    def compare(self, kind: str, step: int, seen: Any, expected: Any) -> None:
        """Note what came of a step, and whether it is what an undisturbed client sees."""
        self.write(kind if seen == expected else f"wrong {kind}", step=step, seen=seen)

    def delete_old(self) -> None:
        """Delete all but the newest saves, and those of finished models."""
        for path in [path for path, step in kept_saves(self.log).items() if step < STEPS][:-KEPT]:
            self.write("deleting", path=path)
            self.rest.delete_checkpoint_from_tinker_path(path).result()
            self.write("deleted", path=path)


def events_of(client: int) -> Path:
    """The file of a client's events."""
    return Path(f"events-{client}.jsonl")


def read_events(log: Path) -> list[dict[str, Any]]:
    """What a client wrote down; a line that a kill cut off does not count."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def last_save(log: Path) -> tuple[str | None, int]:
    """A client's newest acknowledged save of the model that it is at, and the step it is of."""
    saves = [event for event in read_events(log) if event["kind"] == "saved"]
    if not saves or saves[-1]["step"] == STEPS:
        return None, 0
    return saves[-1]["path"], saves[-1]["step"]


def kept_saves(log: Path) -> dict[str, int]:
    """The step of each acknowledged save that a client has not asked to delete, by path, the oldest first."""
    events = read_events(log)
    gone = {event["path"] for event in events if event["kind"] == "deleting"}
    return {e["path"]: e["step"] for e in events if e["kind"] == "saved" and e["path"] not in gone}


def live(url: str, key: str, model: str, number: int) -> None:
    """Be one client until SIGTERM, as the whole of a process."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    values = json.loads(Path(f"expected-{number}.json").read_text())
    thread = threading.Thread(target=Client(url, key, model, number, Expected(**values)).live, args=(stop,))
    thread.start()
    thread.join()
    # The SDK's background thread may still be retrying.
    os._exit(0)


def write_expected(model: str, clients: int, checkpoints: Path) -> None:
    """Write what every client must see into the working directory."""
    for client in range(clients):
        Path(f"expected-{client}.json").write_text(json.dumps(asdict(undisturbed(model, client, checkpoints))))

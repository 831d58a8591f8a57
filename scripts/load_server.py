"""Many clients on one server, with clients and the server killed at random: nothing saved is lost, nobody sees another.

    python scripts/load_server.py --model DIRECTORY [--clients 32] [--processes 4] [--seconds 180] [--server-kills 2]

Every client trains an adapter with its own seed on its own data and knows, from a run in this process, which loss must
come at each step. It saves at every third step and, after whatever happens to it, goes on from the last save that was
<<<<<<< HEAD
acknowledged. Every process is a user with a separate key. In the last third of the time nobody is killed, so that the
=======
acknowledged. Every process is a user with a key. In the last third of the time nobody is killed, so that the
>>>>>>> be77121 (Server: tests and words)
server's memory can be watched. At the end every acknowledged checkpoint is loaded again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TINKER_TELEMETRY", "0")

import numpy as np
import tinker
from tinker import types

# Of one client, before it begins another training.
STEPS = 24
SAVE_EVERY = 3
# Share of the time within which the server is killed, again and again.
KILLING = 2 / 3
ADAM = types.AdamParams(learning_rate=1e-2)
RETRIED = (tinker.TinkerError, ValueError, RuntimeError, OSError)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--server-kills", type=int, default=2)
    parser.add_argument("--client-kills", type=int, default=6)
    parser.add_argument("--port", type=int, default=8792)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = str(Path(options.model).resolve())
    if options.worker is not None:
        work(options)
        return
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(orchestrate(options, Path(directory)), indent=2))


def orchestrate(options: Any, directory: Path) -> dict[str, Any]:
    """Start everything, kill at random, and look at what is left."""
    (directory / "expected.json").write_text(json.dumps(expected_losses(options)))
    server = start_server(options, directory)
    workers = [start_worker(options, index, directory) for index in range(options.processes)]
    kills = ["server"] * options.server_kills + ["client"] * options.client_kills
    random.Random(0).shuffle(kills)
    start = time.time()
    # A list for each process of the server.
    memory: list[list[float]] = [[]]
    try:
        for number, victim in enumerate(kills):
            watch(server, start + KILLING * options.seconds * (number + 1) / len(kills), memory[-1])
            if victim == "server":
                server.kill()
                server.wait()
                server = start_server(options, directory)
                memory.append([])
            else:
                index = random.randrange(len(workers))
                workers[index].kill()
                workers[index].wait()
                workers[index] = start_worker(options, index, directory)
        watch(server, start + options.seconds, memory[-1])
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(60)
        return summary(options, directory, memory)
    finally:
        for process in (server, *workers):
            process.kill()


def watch(server: subprocess.Popen[bytes], until: float, memory: list[float]) -> None:
    """Note the server's memory until then."""
    while time.time() < until:
        time.sleep(2)
        memory.append(resident_megabytes(server.pid))


def summary(options: Any, directory: Path, memory: list[list[float]]) -> dict[str, Any]:
    """What the clients wrote down, and whether every acknowledged checkpoint is there."""
    events = [event for file in directory.glob("events-*.jsonl") for event in read_events(file)]
    saved = {(event["path"], event["client"]) for event in events if event["kind"] == "saved"}
    lost = []
    for path, client in sorted(saved):
        # Closed each time: one model at a time.
        service = connect(options, client)
        try:
            service.create_training_client_from_state_with_optimizer(path).result()
        except RETRIED as error:
            lost.append(f"{path}: {error}")
        service.close("success").result()
    count = {kind: sum(event["kind"] == kind for event in events) for kind in ("step", "saved", "resumed", "fault")}
    last = memory[-1]
    return {
        **count,
        "wrong_losses": sum(event["kind"] == "wrong" for event in events),
        "checkpoints_lost": lost,
        "server_megabytes": {
            "when it was killed": [round(life[-1]) for life in memory[:-1] if life],
            "last life, every tenth of it": [round(last[i * (len(last) - 1) // 10]) for i in range(1, 11)],
        },
    }


def connect(options: Any, client: int) -> tinker.ServiceClient:
    """A service client with the key of a client's process."""
    key = user_key(client % options.processes)
    return tinker.ServiceClient(base_url=f"http://127.0.0.1:{options.port}", api_key=key)


def user_key(process: int) -> str:
    """The API key of one process's clients."""
    return f"tml-load-test-key-{process}"


def start_server(options: Any, directory: Path) -> subprocess.Popen[bytes]:
    """A server on the same directory as the ones before it."""
    command = [sys.executable, "-m", "text2sql.cli", "serve", "--base-model", options.model]
    command += [word for process in range(options.processes) for word in ("--api-key", user_key(process))]
    with (directory / "server.log").open("ab") as log:
        return subprocess.Popen(
            [*command, "--data", str(directory / "data"), "--port", str(options.port)],
            stdout=log,
            stderr=log,
            env=environment(),
        )


def start_worker(options: Any, index: int, directory: Path) -> subprocess.Popen[bytes]:
    """A process with its share of the clients."""
    return subprocess.Popen(
        [
            sys.executable,
            str(Path(__file__).resolve()),
            *sys.argv[1:],
            "--model",
            options.model,
            "--worker",
            str(index),
        ],
        cwd=directory,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """This process's environment, with the repository to import from."""
    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}


def resident_megabytes(pid: int) -> float:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def datums(client: int, step: int) -> list[types.Datum]:
    """A client's data at a step."""
    rng = np.random.default_rng((client, step))
    made = []
    for _ in range(2):
        ids = rng.integers(1, 500, 13)
        inputs: Any = {"target_tokens": ids[1:], "weights": np.ones(12, dtype=np.float32)}
        made.append(types.Datum(types.ModelInput.from_ints(ids[:-1].tolist()), inputs))
    return made


def expected_losses(options: Any) -> list[list[float]]:
    """What every client must see at every step."""
    from backends import open_backend
    from backends.options import LocalOptions

    service = open_backend("local", LocalOptions(unscored_logprobs=True))
    losses = []
    for client in range(options.clients):
        trainer = service.create_lora_training_client(options.model, rank=2, seed=client).result()
        losses.append([train(trainer, client, step) for step in range(STEPS)])
    service.close()
    return losses


def train(trainer: Any, client: int, step: int) -> float:
    """One step; its loss."""
    forward = trainer.forward_backward(datums(client, step), "cross_entropy")
    trainer.optim_step(ADAM).result()
    return forward.result().metrics["loss:sum"]


def work(options: Any) -> None:
    """The clients of one process, until it is asked to stop."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    expected = json.loads(Path("expected.json").read_text())
    mine = range(options.worker, options.clients, options.processes)
    threads = [threading.Thread(target=live, args=(options, client, expected[client], stop)) for client in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The SDK's background thread may still be retrying.
    os._exit(0)


def live(options: Any, client: int, expected: list[float], stop: threading.Event) -> None:
    """One client: train, save, and after a fault go on from the last save."""
    log = Path(f"events-{client}.jsonl")
    path, step = last_save(log)

    def write(kind: str, **details: Any) -> None:
        # A line is short enough to be written at once.
        with log.open("a") as file:
            file.write(json.dumps({"kind": kind, "client": client, **details}) + "\n")

    while not stop.is_set():
        try:
            service = connect(options, client)
            if path is None:
                trainer, step = service.create_lora_training_client(options.model, rank=2, seed=client).result(), 0
            else:
                trainer = service.create_training_client_from_state_with_optimizer(path).result()
                write("resumed", path=path)
            while not stop.is_set() and step < STEPS:
                loss = train(trainer, client, step)
                write("step" if loss == expected[step] else "wrong", step=step, loss=loss)
                step += 1
                if step % SAVE_EVERY == 0:
                    path = trainer.save_state(f"{client}-{step}-{time.time_ns()}").result().path
                    write("saved", path=path, step=step)
            service.close("success").result()
            path, step = (None, 0) if step == STEPS else (path, step)
        except RETRIED as error:
            write("fault", error=f"{type(error).__name__}: {error}"[:200])
            path, step = last_save(log)
            stop.wait(1)


def read_events(log: Path) -> list[dict[str, Any]]:
    """What a client wrote down; a line that a kill cut off does not count."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def last_save(log: Path) -> tuple[str | None, int]:
    """A client's newest acknowledged checkpoint of the run it is in, and the step it is of."""
    saves = [event for event in read_events(log) if event["kind"] == "saved"]
    if not saves or saves[-1]["step"] == STEPS:
        return None, 0
    return saves[-1]["path"], saves[-1]["step"]


if __name__ == "__main__":
    main()

"""Many clients on one server, while server, clients, disk and clock fail: nothing saved is lost, every bit is right.

    python scripts/load_server.py --model DIRECTORY [--clients 8] [--seconds 1800] [--kill-every 120] [--quiet 840]

Every client is a process and a user. It trains an adapter on its data, samples from it, saves and deletes, and knows
from a run without a server every loss, every sampled token and the final weights to the bit. Meanwhile, over and over:
the server is killed (kill -9; a supervisor starts it again), clients are killed, each flush to the disk takes up to a
second longer, the disk is full or nearly so, and the clock is set forwards and back. In the last `--quiet` seconds the
server is not killed any more, so that its memory can be watched; everything else goes on. At the end every acknowledged
checkpoint is read again, and the files are compared with the database.

A small disk needs the right to mount a tmpfs, the slow one and the clock a C compiler; the report says what was left
out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

# One thread for each program: the numbers do not depend on it, the time does.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import load_client
import load_machine as machine
import tinker
from load_client import RETRIED, STEPS, digest, events_of, kept_saves, read_events, write_expected

HERE = Path(__file__).resolve().parent
# A client that is started again has nothing to import first.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["load_client"])
LOOK_SECONDS = 2.0
# A server that is killed has served at least this long: on a busy machine its start takes long.
SERVED_SECONDS = 20
# Seconds between two faults of a kind and how long one lasts, as shares of the time between two kills of the server.
CLIENT_KILL_EVERY, SLOW_EVERY, FULL_EVERY, CLOCK_EVERY = 0.25, 0.6, 0.9, 0.7
SLOW_LASTS, FULL_LASTS = 0.2, 0.1
SLOWEST_FLUSH_SECONDS = 1.0
CLOCK_STEPS_SECONDS = (-172_800, -3600, 0, 3600, 172_800)
# When a server's memory is taken to have settled, and how long it must then have been watched.
SETTLED_SECONDS = 600
LAG_SECONDS = 0.2
LIMITS = (
    "limits.session_idle_seconds=60",
    "limits.result_seconds=120",
    f"limits.free_disk_bytes={2 * machine.NEARLY_FULL_BYTES}",
)
SERVERS_LINES = re.compile(r"^text2sql_server_event_loop_lag_seconds_max (\S+)", re.MULTILINE)


@dataclass
class Life:
    """One process of the server.

    Attributes:
        started: When, in this process's clock.
        memory: Its age in seconds and its resident megabytes, again and again.
        lag: Largest delay of its event loop, in seconds, where it was asked.
        served: When it first answered; None before.
    """

    started: float = field(default_factory=time.monotonic)
    served: float | None = None
    memory: list[tuple[float, float]] = field(default_factory=list)
    lag: float = 0.0

    def at(self, low: float, high: float) -> list[float]:
        """Its memory between two ages."""
        return [megabytes for age, megabytes in self.memory if low <= age < high]


class Soak:
    """A server with its clients and the faults that befall them, in the working directory."""

    def __init__(self, options: argparse.Namespace, shim: machine.Shim, disk: Path, mounted: bool) -> None:
        self.options, self.shim, self.disk, self.mounted = options, shim, disk, mounted
        self.url = f"http://127.0.0.1:{options.port}"
        Path("keys").write_text("".join(f"{key_of(client)}\n" for client in range(options.clients)))
        self.random = random.Random(options.seed)
        self.lives: list[Life] = []
        self.did: Counter[str] = Counter()
        self.kill_due = False
        self.server = self.start_server()
        self.clients = [self.start_client(client) for client in range(options.clients)]

    def start_server(self) -> subprocess.Popen[bytes]:
        """A server on the same directory as the ones before it."""
        command = [sys.executable, "-m", "text2sql", "serve", "--base-model", f"tiny={self.options.model}"]
        command += ["--data", str(self.disk / "data"), "--port", str(self.options.port), "--api-key-file", "keys"]
        self.lives.append(Life())
        with Path("server.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "local.device=cpu", *LIMITS],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.shim.environment()},
            )

    def start_client(self, client: int) -> ForkServerProcess:
        """A client, which goes on from where it was."""
        process = FORKS.Process(target=load_client.live, args=(self.url, key_of(client), "tiny", client))
        process.start()
        return process

    # Faults

    def kill_server(self) -> None:
        """Have the server killed without a warning as soon as it has served for a while; `look` starts it again."""
        self.kill_due = True

    def kill_client(self) -> None:
        """Kill one client without a warning, and start it again."""
        victim = self.random.randrange(len(self.clients))
        self.clients[victim].kill()
        self.clients[victim].join()
        self.clients[victim] = self.start_client(victim)

    def slow_disk(self) -> None:
        """Make flushes slow."""
        self.shim.set_flush_seconds(self.random.uniform(0.1, SLOWEST_FLUSH_SECONDS))

    def quick_disk(self) -> None:
        """Make flushes quick again."""
        self.shim.set_flush_seconds(0)

    def full_disk(self) -> None:
        """Fill the disk: to the last byte, or nearly so."""
        machine.fill(self.disk, self.random.choice((0, machine.NEARLY_FULL_BYTES)))

    def free_disk(self) -> None:
        """Make space again."""
        machine.empty(self.disk)

    def set_clock(self) -> None:
        """Set the server's clock."""
        self.shim.set_clock_ahead(self.random.choice(CLOCK_STEPS_SECONDS))

    def plan(self) -> list[tuple[float, str, Callable[[], None]]]:
        """What happens when, in seconds from the start."""
        every, end = self.options.kill_every, self.options.seconds

        def repeated(name: str, action: Callable[[], None], period: float, until: float, delay: float = 0) -> Any:
            times = range(1, int(until / period) + 1)
            return [(number * period + delay, name, action) for number in times if number * period + delay < until]

        planned = repeated("", self.kill_server, every, end - self.options.quiet + 1)
        planned += repeated("client killed", self.kill_client, CLIENT_KILL_EVERY * every, end)
        if self.shim.library:
            planned += repeated("disk slow", self.slow_disk, SLOW_EVERY * every, end)
            planned += repeated("", self.quick_disk, SLOW_EVERY * every, end, SLOW_LASTS * every)
            planned += repeated("clock set", self.set_clock, CLOCK_EVERY * every, end)
        if self.mounted:
            planned += repeated("disk full", self.full_disk, FULL_EVERY * every, end)
            planned += repeated("", self.free_disk, FULL_EVERY * every, end, FULL_LASTS * every)
        return sorted(planned, key=lambda one: one[0])

    # The course of it

    def run(self) -> dict[str, Any]:
        """Let everything happen, and report."""
        lateness = machine.Lateness()
        try:
            while self.lives[-1].served is None:
                time.sleep(LOOK_SECONDS)
                self.look()
            start = time.monotonic()
            for moment, name, action in [*self.plan(), (self.options.seconds, "", lambda: None)]:
                while time.monotonic() < start + moment:
                    time.sleep(min(LOOK_SECONDS, max(0.0, start + moment - time.monotonic())))
                    self.look()
                action()
                if name:
                    self.did[name] += 1
            self.quick_disk()
            self.free_disk()
            return self.report(lateness.largest)
        finally:
            for process in (self.server, *self.clients):
                process.kill()

    def look(self) -> None:
        """Note the server's memory and lag; start it again if it has ended."""
        if self.server.poll() is not None:
            # A supervisor waits a moment too.
            time.sleep(0.5)
            self.server = self.start_server()
            return
        life = self.lives[-1]
        life.memory.append((time.monotonic() - life.started, machine.resident_megabytes(self.server.pid)))
        request = urllib.request.Request(f"{self.url}/metrics", headers={"X-API-Key": key_of(0)})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if found := SERVERS_LINES.search(answer.read().decode()):
                    life.lag = float(found[1])
            life.served = life.served or time.monotonic()
        except TimeoutError:
            self.did["metrics late"] += 1
        except OSError:
            # It is starting.
            pass
        if self.kill_due and life.served and time.monotonic() - life.served > SERVED_SECONDS:
            self.server.kill()
            self.server.wait()
            self.kill_due = False
            self.did["server killed"] += 1

    def report(self, lateness: float) -> dict[str, Any]:
        """Stop the clients, read every checkpoint again, stop the server, compare files and records."""
        for client in self.clients:
            client.terminate()
        for client in self.clients:
            client.join(120)
        events = [event for client in range(self.options.clients) for event in read_events(events_of(client))]
        count = Counter(event["kind"] for event in events)
        lost = self.lost_checkpoints()
        self.server.terminate()
        begun = time.monotonic()
        status = self.server.wait(30)
        return {
            "faults": dict(self.did),
            "left out": self.left_out(),
            "clients": dict(count),
            "wrong": sum(number for kind, number in count.items() if kind.startswith("wrong")),
            "lost checkpoints": lost,
            "models with other bits": self.other_bits(),
            "records and files": compare_files(self.disk / "data"),
            "server's lives": len(self.lives),
            "event loop lag, seconds": {
                "largest": max(life.lag for life in self.lives),
                "lives above the limit": sum(life.lag > LAG_SECONDS for life in self.lives),
                "lateness of an idle thread": round(lateness, 3),
            },
            "memory, megabytes": self.memory(),
            "end": {"status": status, "seconds": round(time.monotonic() - begun, 1)},
            "what clients heard": Counter(short(e["error"]) for e in events if e["kind"] == "fault").most_common(12),
            "log": log_lines(Path("server.log")),
        }

    def left_out(self) -> list[str]:
        """Faults that this machine does not allow."""
        full = [] if self.mounted else ["disk full"]
        return full if self.shim.library else [*full, "disk slow", "clock set"]

    def lost_checkpoints(self) -> list[str]:
        """Acknowledged checkpoints that cannot be gone on from; of finished models the files alone are looked at."""
        lost = []
        for client in range(self.options.clients):
            for path, step in kept_saves(events_of(client)).items():
                if step == STEPS:
                    lost += [] if self.files(path).is_dir() else [path]
                    continue
                service = tinker.ServiceClient(base_url=self.url, api_key=key_of(client))
                try:
                    service.create_training_client_from_state_with_optimizer(path).result()
                except RETRIED as error:
                    lost.append(f"{path}: {error}")
                service.close("success").result()
        return lost

    def other_bits(self) -> list[str]:
        """Finished models whose weights or optimiser differ from those of an undisturbed client."""
        different = []
        for client in range(self.options.clients):
            expected = json.loads(Path(f"expected-{client}.json").read_text())["digest"]
            finished = [path for path, step in kept_saves(events_of(client)).items() if step == STEPS]
            different += [p for p in finished if self.files(p).is_dir() and digest(self.files(p)) != expected]
        return different

    def files(self, path: str) -> Path:
        """The directory of a checkpoint."""
        run, kind, name = path.removeprefix("tinker://").split("/")
        return self.disk / "data" / "checkpoints" / run.replace(":", "-") / kind / name

    def memory(self) -> dict[str, Any]:
        """Of the last process in steps of a minute; how much it grew once it had settled."""
        last, age = self.lives[-1], time.monotonic() - self.lives[-1].started
        minutes = [last.at(start, start + 60) for start in range(0, int(age), 60)]
        settled = last.at(SETTLED_SECONDS - 30, SETTLED_SECONDS + 30)
        end = last.at(age - 60, age)
        growth = round(statistics.median(end) / statistics.median(settled) - 1, 4) if settled and end else None
        return {
            "when it was killed": [round(life.memory[-1][1]) for life in self.lives[:-1] if life.memory],
            "last life, minute by minute": [round(statistics.median(minute)) for minute in minutes if minute],
            "growth since ten minutes": growth if age > SETTLED_SECONDS + 60 else None,
        }


def key_of(client: int) -> str:
    """The key of a client's user."""
    return f"tml-load-test-key-{client}"


def compare_files(data: Path) -> dict[str, Any]:
    """How many checkpoints there are, and where records and files differ."""
    with closing(sqlite3.connect(data / "server.sqlite")) as database:
        rows = database.execute("SELECT path, size FROM checkpoints").fetchall()
    recorded = {}
    for path, size in rows:
        run, kind, name = path.removeprefix("tinker://").split("/")
        recorded[f"{run.replace(':', '-')}/{kind}/{name}"] = size
    root = data / "checkpoints"
    found = {
        str(directory.relative_to(root)): sum(file.stat().st_size for file in directory.iterdir())
        for directory in root.glob("*/*/*")
    }
    return {
        "checkpoints": len(found),
        "files without a record": sorted(found.keys() - recorded.keys()),
        "records without files": sorted(recorded.keys() - found.keys()),
        "other sizes": sorted(name for name in found.keys() & recorded.keys() if found[name] != recorded[name]),
    }


def short(error: str) -> str:
    """An error without what differs from one time to the next."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9]+(\.[0-9]+)?\b", "N", error)[:160]


def log_lines(log: Path) -> dict[str, Any]:
    """How many tracebacks the servers wrote, their last lines, and what held their event loops."""
    lines = log.read_text(errors="replace").splitlines()
    ends = [line for line in lines if re.match(r"[A-Za-z_.]+(Error|Exception|Full)\b", line)]
    tracebacks = lines.count("Traceback (most recent call last):")
    held = [line for line in lines if "event loop was held" in line]
    return {"tracebacks": tracebacks, "they end with": Counter(map(short, ends)).most_common(5), "loop held": held[:20]}


def main() -> None:
    """Read the arguments, run, and print the report as JSON; the exit status says whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="directory of a small model")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--kill-every", type=float, default=30, help="seconds between two kills of the server")
    parser.add_argument("--quiet", type=float, default=60, help="seconds at the end without a kill of the server")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the faults")
    parser.add_argument("--port", type=int, default=8792)
    parser.add_argument("--keep", type=Path, help="directory for logs and events, kept afterwards")
    options = parser.parse_args()
    # The disk is unmounted and the processes end, however this one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.model = str(Path(options.model).resolve())
    with tempfile.TemporaryDirectory() as scratch, machine.small_disk(Path(scratch) / "disk") as mounted:
        directory = options.keep or Path(scratch) / "work"
        directory.mkdir(parents=True, exist_ok=True)
        os.chdir(directory)
        os.environ["PYTHONPATH"] = f"{HERE.parent}:{HERE}"
        write_expected(options.model, options.clients, Path(scratch) / "expected")
        report = Soak(options, machine.Shim(Path(scratch)), Path(scratch) / "disk", mounted).run()
    print(json.dumps(report, indent=2))
    files = report["records and files"]
    bad = report["wrong"], report["lost checkpoints"], report["models with other bits"], report["log"]["tracebacks"]
    sys.exit(any((*bad, files["files without a record"], files["records without files"], files["other sizes"])))


if __name__ == "__main__":
    main()

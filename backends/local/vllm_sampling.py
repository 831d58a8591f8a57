"""A sampling client whose tokens come from a vLLM server (`backends.local.vllm_client`).

What the server cannot compute in the same way is computed here, as without it: log-probabilities of prompts, likeliest
tokens, streams of tokens, and samples with top-k or top-p, whose log-probabilities it normalises differently.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from tinker import types

from backends.base_models import hub_id
from backends.interface import BackendError
from backends.local.checkpoints.files import Checkpoint, write_adapter
from backends.local.decode.batcher import SampleCall, stop_conditions
from backends.local.decode.prompt_logprobs import NO_PROMPT_LOGPROBS
from backends.local.futures import LocalFuture, as_sdk_error
from backends.local.sampling import LocalSamplingClient
from backends.local.vllm_client import RequestRefused, VllmClient

if TYPE_CHECKING:
    from pathlib import Path

    from backends.local.engine import Engine
    from backends.local.weights.protocol import Snapshot

log = logging.getLogger("text2sql.local")
# Requests that are sent at once; the server batches them.
_MAX_REQUESTS = 128
# Tokens of the answer whose log-probabilities are compared with this backend's own.
_PROBE_TOKENS = 16
# Mean difference of log-probabilities, in nats, from which the server must have another model: bfloat16 makes some
# hundredths.
_MAX_LOGPROB_GAP = 0.5
# Mean difference of log-probabilities, in nats, by which a temperature other than 1 can be recognised.
_MIN_TEMPERATURE_EFFECT = 0.02
_sequence_numbers = itertools.count(1)


class VllmSamplingClient(LocalSamplingClient):
    """Samples with the server `engine.vllm`, which loads the weights at the first call.

    Args:
        engine: The base model, in memory, and the server.
        client_id: The id by which all processes know this client.
        snapshot: What to sample from; None: the bare base model.
        model_path: ``tinker://`` path that the weights were read from, if any.
    """

    def __init__(
        self, engine: Engine, client_id: str, snapshot: Snapshot | None, model_path: str | None = None
    ) -> None:
        super().__init__(engine, client_id, snapshot, model_path)
        assert engine.vllm is not None
        self._vllm: VllmClient = engine.vllm
        self._threads = ThreadPoolExecutor(_MAX_REQUESTS, thread_name_prefix="text2sql-outside")
        self._setup_lock = threading.Lock()
        self._is_set_up = False
        # When the set-up failed last, on the monotonic clock, and why.
        self._failure: tuple[float, BackendError] | None = None
        # Temperatures at which log-probabilities are known to be those of the sampled distribution.
        self._checked_temperatures = {0.0, 1.0}
        self._name = f"text2sql-{client_id}"
        if snapshot is not None:
            weakref.finalize(self, self._vllm.unload, self._name)
        weakref.finalize(self, self._threads.shutdown, wait=False)

    def _submit(self, call: SampleCall) -> LocalFuture[types.SampleResponse]:
        params = call.params
        if (
            call.on_token is not None
            or call.topk
            or call.prompt_request != NO_PROMPT_LOGPROBS
            or params.max_tokens == 0
            or params.top_k > 0
            or params.top_p < 1
        ):
            return super()._submit(call)
        self._threads.submit(self._answer_by_vllm, call)
        return LocalFuture(call.future)

    def _answer_by_vllm(self, call: SampleCall) -> None:
        if call.future.cancelled():
            return
        try:
            self._set_up(call)
            call.answer(self._sample(call))
        except (BackendError, ValueError) as error:
            call.fail(error)
        except Exception as error:
            call.fail(as_sdk_error(error))

    def _set_up(self, call: SampleCall) -> None:
        """Before the first answer, have the server load the weights, and compare its log-probabilities with ours."""
        started = time.monotonic()
        with self._setup_lock:
            if not self._is_set_up:
                # Calls that waited while another one failed fail with it.
                if self._failure is not None and self._failure[0] > started:
                    raise BackendError(str(self._failure[1]))
                try:
                    self._load_weights()
                    self._compare_models(call.prompt)
                except BackendError as error:
                    self._failure = (time.monotonic(), error)
                    raise
                self._is_set_up = True
            if call.params.temperature not in self._checked_temperatures:
                self._check_temperature(call.prompt, call.params.temperature)
                self._checked_temperatures.add(call.params.temperature)

    def _load_weights(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        base = self._engine.base.name
        adapted = {key.partition(".lora_")[0].rpartition(".")[2] for key in snapshot.state}
        checkpoint = Checkpoint(base, snapshot.spec, snapshot.state, None, sorted(adapted))

        def write(directory: Path) -> None:
            write_adapter(directory, checkpoint, hub_id(base))

        self._vllm.load(self._name, snapshot.spec.rank or 0, write)

    def _compare_models(self, prompt: list[int]) -> None:
        """Measure how far the server's log-probabilities are from ours, on one of its answers.

        Raises:
            BackendError: The server has another model, or another tokenizer.
        """
        probe = types.SamplingParams(max_tokens=_PROBE_TOKENS, temperature=1.0, stop=[])
        theirs, text = self._probe(prompt, probe)
        ours = self._our_logprobs(prompt, theirs.tokens)
        difference = float(np.abs(ours - np.asarray(theirs.logprobs)).mean())
        decoded = self._engine.base.tokenizer.decode(theirs.tokens, skip_special_tokens=False)
        if difference > _MAX_LOGPROB_GAP or "".join(decoded.split()) != "".join(text.split()):
            what = "tokenizer" if difference <= _MAX_LOGPROB_GAP else "model"
            raise BackendError(
                f"local.sampler: the engine at {self._vllm.url} has another {what} than "
                f"{self._engine.base.name}: it serves {self._vllm.base_model()}, whose log-probabilities are "
                f"{difference:.2f} nats from ours on its own tokens. Serve the same base model, or leave "
                "local.sampler out to sample on this machine; nothing is lost."
            )
        self._engine.sampler_logprob_gap = max(self._engine.sampler_logprob_gap, difference)
        log.info(
            "%s samples for %s; its log-probabilities are %.4f nats from ours in the mean of %d tokens.",
            self._vllm.url,
            self._name if self._snapshot else "the base model",
            difference,
            len(theirs.tokens),
        )

    def _check_temperature(self, prompt: list[int], temperature: float) -> None:
        """Raise BackendError if log-probabilities are not those of the sampled distribution."""
        params = types.SamplingParams(max_tokens=_PROBE_TOKENS, temperature=temperature, stop=[])
        theirs, _ = self._probe(prompt, params)
        ours = self._our_logprobs(prompt, theirs.tokens)  # at temperature 1
        # If the model is certain of its tokens, temperature has no effect.
        is_certain = np.abs(ours).mean() < _MIN_TEMPERATURE_EFFECT
        if not is_certain and np.abs(np.asarray(theirs.logprobs) - ours).mean() < max(
            _MIN_TEMPERATURE_EFFECT, 2 * self._engine.sampler_logprob_gap
        ):
            raise BackendError(
                f"local.sampler: the engine at {self._vllm.url} gives log-probabilities before temperature, and "
                f"temperature {temperature:g} is asked for. Start vLLM with --logprobs-mode processed_logprobs, or "
                "leave local.sampler out to sample on this machine."
            )

    def _probe(self, prompt: list[int], params: types.SamplingParams) -> tuple[types.SampledSequence, str]:
        call = SampleCall(prompt[: self._engine.base.max_length - _PROBE_TOKENS], 1, params, NO_PROMPT_LOGPROBS, 0, 0)
        answer = self._completions(call)
        return self._sequence(answer["choices"][0]), str(answer["choices"][0]["text"])

    def _our_logprobs(self, prompt: list[int], tokens: list[int]) -> np.ndarray[Any, Any]:
        prompt = prompt[: self._engine.base.max_length - _PROBE_TOKENS]
        logprobs = self.compute_logprobs(
            types.ModelInput.from_ints([*prompt, *tokens]), prompt_logprobs_last_n=len(tokens)
        ).result()
        return np.asarray(logprobs[len(prompt) :], dtype=np.float64)

    def _sample(self, call: SampleCall) -> types.SampleResponse:
        choices = sorted(self._completions(call)["choices"], key=lambda choice: int(choice["index"]))
        sequences = [self._sequence(choice) for choice in choices]
        # A greedy answer is requested once.
        sequences *= call.num_samples if len(sequences) == 1 else 1
        if len(sequences) != call.num_samples:
            raise BackendError(
                f"local.sampler: the engine at {self._vllm.url} gave {len(sequences)} answers where "
                f"{call.num_samples} were asked for."
            )
        return types.SampleResponse(sequences=sequences)

    def _completions(self, call: SampleCall) -> dict[str, Any]:
        """The server's response; a server that has been restarted loads the weights again."""
        body = self._request_body(call)
        try:
            try:
                return self._vllm.complete(body)
            except RequestRefused as error:
                if error.status != 404 or self._snapshot is None:
                    raise
                self._load_weights()
                return self._vllm.complete(body)
        except RequestRefused as error:
            raise BackendError(
                f"local.sampler: the engine at {self._vllm.url} refuses a prompt of {len(call.prompt)} tokens with "
                f"{body['max_tokens']} to come ({error}). Where it is too long, start it with a larger "
                "--max-model-len; nothing that was sampled before is lost, and the same command goes on."
            ) from error

    def _request_body(self, call: SampleCall) -> dict[str, Any]:
        params, room = call.params, self._engine.base.max_length - len(call.prompt)
        greedy = params.temperature == 0
        stops = stop_conditions(self._engine.base.tokenizer, params.stop)
        return {
            "model": self._name if self._snapshot else self._vllm.base_model(),
            "prompt": call.prompt,
            "n": 1 if greedy else call.num_samples,
            "max_tokens": room if params.max_tokens is None else min(params.max_tokens, room),
            "temperature": params.temperature,
            # Override the defaults of the served model.
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            # vLLM takes signed 64-bit seeds, and adds the number of the sample.
            "seed": call.seed & (2**62 - 1),
            "stop": list(stops.strings),
            "stop_token_ids": sorted(stops.tokens),
            # Only these stops end an answer.
            "ignore_eos": True,
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
            "logprobs": 0,
            "return_token_ids": True,
        }

    def _sequence(self, choice: dict[str, Any]) -> types.SampledSequence:
        tokens, logprobs = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
        reason = choice.get("finish_reason")
        if not tokens or not logprobs or len(tokens) != len(logprobs) or reason not in ("stop", "length"):
            raise BackendError(
                f"local.sampler: the engine at {self._vllm.url} gives no token ids with their log-probabilities "
                f"(finish_reason: {reason}). It must be a vLLM that knows return_token_ids; leave local.sampler out to "
                "sample on this machine."
            )
        return types.SampledSequence(
            stop_reason=reason,
            sequence_id=f"outside-{next(_sequence_numbers)}",
            tokens_np=np.asarray(tokens, dtype=np.int32),
            logprobs_np=np.asarray(logprobs, dtype=np.float32),
        )


def make_sampling_client(
    engine: Engine, client_id: str, snapshot: Snapshot | None, model_path: str | None = None
) -> LocalSamplingClient:
    """A new sampling client; it uses a vLLM server where the options name one."""
    client = LocalSamplingClient if engine.vllm is None else VllmSamplingClient
    return client(engine, client_id, snapshot, model_path)

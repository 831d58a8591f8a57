"""The protocol by hand, for what the SDK would not send."""

from __future__ import annotations

from typing import Any

import httpx
from tinker import types
from tinker.proto.request_conv import forward_backward_request_to_proto
from tinker.proto.response_conv import deserialize_forward_backward_output
from tinker.types.forward_backward_input import ForwardBackwardInput

from tests.support.datums import texts

ADAM = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.0, "grad_clip_norm": 0.0}


def prompt_of(tokens: list[Any]) -> dict[str, Any]:
    """A prompt of these tokens, in JSON."""
    return {"chunks": [{"tokens": tokens, "type": "encoded_text"}]}


class Wire:
    """A session with one model, driven by plain HTTP requests."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        body = {"tags": [], "user_metadata": {}, "sdk_version": "0.38.0", "type": "create_session"}
        self.session = self.post("create_session", body).json()["session_id"]
        self.model = f"{self.session}:train:0"

    def post(self, route: str, body: Any) -> httpx.Response:
        return self.http.post(f"/api/v1/{route}", json=body)

    def create(self, rank: int = 4, base_model: str = "tiny", model_seq_id: int = 0) -> httpx.Response:
        return self.post(
            "create_model",
            {
                "session_id": self.session,
                "model_seq_id": model_seq_id,
                "base_model": base_model,
                "lora_config": {"rank": rank, "seed": 5},
            },
        )

    def forward_backward(
        self, seq_id: int, data: list[types.Datum], loss_fn: Any = "cross_entropy", *, forward_only: bool = False
    ) -> httpx.Response:
        message = self.message(seq_id, data, loss_fn)
        message.forward_only = forward_only
        return self.send(message.SerializeToString())

    def message(self, seq_id: int, data: list[types.Datum], loss_fn: Any = "cross_entropy") -> Any:
        inputs = ForwardBackwardInput(data=data, loss_fn=loss_fn)
        request = types.ForwardBackwardRequest(forward_backward_input=inputs, model_id=self.model, seq_id=seq_id)
        return forward_backward_request_to_proto(request)

    def send(self, body: bytes, **headers: str) -> httpx.Response:
        return self.http.post(
            "/api/v1/forward_backward",
            content=body,
            headers={"Content-Type": "application/x-protobuf", **{k.replace("_", "-"): v for k, v in headers.items()}},
        )

    def step(self, seq_id: Any) -> httpx.Response:
        return self.post("optim_step", {"model_id": self.model, "seq_id": seq_id, "adam_params": ADAM})

    def poll(self, request_id: str, **options: Any) -> httpx.Response:
        return self.post("retrieve_future", {"request_id": request_id, **options})

    def result(self, queued: httpx.Response) -> Any:
        """What a future resolves to: an output, or plain JSON."""
        assert queued.status_code == 200, queued.text
        while (answer := self.poll(queued.json()["request_id"])).status_code == 408:
            pass
        if answer.headers["content-type"] == "application/x-protobuf":
            return deserialize_forward_backward_output(answer.content)
        return answer.json()

    def sampler(self, seq_id: int = 0, **target: Any) -> str:
        """A sampler of the base model, or of `model_path`."""
        body = {"session_id": self.session, "sampling_session_seq_id": seq_id, **(target or {"base_model": "tiny"})}
        sampler: str = self.post("create_sampling_session", body).json()["sampling_session_id"]
        return sampler

    def sample(self, sampler: str, prompt: list[int], samples: int, length: int, **more: Any) -> httpx.Response:
        """Ask for samples of a length, whatever comes."""
        params = {"max_tokens": length, "stop": [], "seed": 7, "temperature": 1.0}
        body = {"sampling_session_id": sampler, "seq_id": 0, "num_samples": samples, "sampling_params": params}
        return self.post("asample", {**body, "prompt": prompt_of(prompt), **more})

    def answer(self, queued: httpx.Response) -> bytes:
        """The answer in protobuf, when it is there."""
        assert queued.status_code == 200, queued.text
        while (answer := self.poll(queued.json()["request_id"])).status_code == 408:
            pass
        assert answer.headers["content-type"] == "application/x-protobuf", answer.text
        return answer.content


def program(wire: Wire, first: int) -> list[bytes]:
    """Everything that a client gets to see of training, scoring and sampling, with texts that begin with a token."""
    wire.result(wire.create(model_seq_id=first))
    wire.model = f"{wire.session}:train:{first}"
    data = texts(first, 30, 16)
    seen = []
    for seq_id in (1, 3):
        seen.append(wire.answer(wire.forward_backward(seq_id, data)))
        wire.result(wire.step(seq_id + 1))
    saved = wire.post("save_weights_for_sampler", {"model_id": wire.model, "seq_id": 5, "path": "trained"})
    trained = wire.sampler(2 * first, model_path=wire.result(saved)["path"])
    bare = wire.sampler(2 * first + 1)
    sent = [wire.sample(sampler, [first, *range(5, 50)], samples=6, length=30) for sampler in (trained, bare)]
    sent.append(wire.forward_backward(6, data, forward_only=True))
    return seen + [wire.answer(queued) for queued in sent]

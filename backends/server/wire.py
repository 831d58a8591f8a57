"""The wire format, as SDKs 0.30 to 0.38 have it: what changes when the SDK does is in this module.

`forward_backward` and the results of `forward_backward` and `asample` are protobuf, little-endian arrays inside;
everything else is JSON, parsed and written with the SDK's own pydantic types. The SDK's `proto.request_conv` and
`proto.response_conv` are the other half of each function here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
import zstandard
from google.protobuf.message import DecodeError
from tinker import types
from tinker.proto import tinker_public_pb2 as wire
from tinker.types.topk_logprobs import TopkLogprobs

PROTOBUF = "application/x-protobuf"
# The oldest SDK that was seen to work; nothing is refused for its version.
OLDEST_SDK = "0.30"
# Cells of the largest tensor of one datum.
CELLS = 1 << 24
PEEK_BYTES = 4096
# Fields of a forward_backward request that are no datums: ids, loss, and an entry for each of its settings.
OTHER_FIELDS = 64
# Kinds of fields in protobuf.
VARINT, LENGTH_DELIMITED = 0, 2
FIXED_BYTES = {1: 8, 5: 4}

ForwardBackwardMessage = wire.ForwardBackwardRequest

NUMPY: dict[Any, np.dtype] = {wire.DTYPE_FLOAT32: np.dtype("<f4"), wire.DTYPE_INT64: np.dtype("<i8")}
NAME: dict[Any, Any] = {wire.DTYPE_FLOAT32: "float32", wire.DTYPE_INT64: "int64"}
PROTO = {"float32": wire.DTYPE_FLOAT32, "int64": wire.DTYPE_INT64}
STOP = {"stop": wire.STOP_REASON_STOP, "length": wire.STOP_REASON_LENGTH}


def require_protobuf(headers: Mapping[str, str]) -> None:
    """Refuse another kind of body where protobuf is read.

    Raises:
        ValueError: The SDK that sent it is older than the protocol that is spoken here.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip()
    if kind in ("", PROTOBUF, "application/octet-stream"):
        return
    version = sdk_version(headers)
    sender = f"tinker {version} sends" if version else "this request is"
    raise ValueError(
        f"forward_backward is read as {PROTOBUF}, which tinker sends from {OLDEST_SDK} on, and {sender} {kind}: "
        f"pip install 'tinker>={OLDEST_SDK}'."
    )


def sdk_version(headers: Mapping[str, str]) -> str | None:
    """The version of the SDK that sent a request; None for other clients."""
    if version := headers.get("x-sdk-version"):
        return version
    match = re.match(r"(?:Async)?Tinker/Python (\S+)", headers.get("user-agent", ""))
    return match[1] if match else None


def plain_size(body: bytes, encoding: str, limit: int) -> int:
    """How large a body is without its ``Content-Encoding``; at most that large if it does not say.

    Raises:
        ValueError: It is not zstd, or larger than `limit`.
    """
    if encoding in ("", "identity"):
        return len(body)
    if encoding != "zstd":
        raise ValueError(f'Content-Encoding "{encoding}" is not spoken here; send zstd or none.')
    try:
        size: int = zstandard.get_frame_parameters(body).content_size
    except zstandard.ZstdError as error:
        raise ValueError(f"The body is not valid zstd: {error}.") from error
    if size == zstandard.CONTENTSIZE_UNKNOWN:
        return limit
    if size > limit:
        raise ValueError(f"The body is larger than {limit} bytes when decompressed.")
    return size


def decompress(body: bytes, encoding: str, size: int) -> bytes:
    """The body as it was before its ``Content-Encoding``.

    Args:
        body: As it came.
        encoding: The header.
        size: What `plain_size` said; the frame may lie.

    Raises:
        ValueError: It is not zstd, or grows beyond that size.
    """
    if encoding in ("", "identity"):
        return body
    try:
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            plain = reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise ValueError(f"The body is not valid zstd: {error}.") from error
    if len(plain) > size:
        raise ValueError(f"The body is larger than {size} bytes when decompressed.")
    return plain


class TooManyDatums(ValueError):
    """A message has more datums than the server takes."""


def check_count(body: bytes, most: int) -> None:
    """Refuse a message of too many datums before it is built: an empty datum is two bytes here and hundreds there.

    Raises:
        TooManyDatums: More than `most`, or more fields than a message of that many can have.
    """
    at = count = 0
    try:
        while at < len(body):
            count += 1
            if count > most + OTHER_FIELDS:
                raise TooManyDatums(f"The request has more than {most} datums; send smaller batches.")
            at = _skip_field(body, at)
    except IndexError:
        # Not a message; the parser says so.
        return


def _skip_field(body: bytes, at: int) -> int:
    """The place behind the field that begins at `at`."""
    tag, at = _varint(body, at)
    kind = tag & 7
    if kind == VARINT:
        return _varint(body, at)[1]
    if kind == LENGTH_DELIMITED:
        length, at = _varint(body, at)
        return at + length
    if kind in FIXED_BYTES:
        return at + FIXED_BYTES[kind]
    raise IndexError


def parse_forward_backward(body: bytes) -> ForwardBackwardMessage:
    """The message of a body (ValueError if it is none); its data are still bytes."""
    message = wire.ForwardBackwardRequest()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise ValueError("The body is not a ForwardBackwardRequest in protobuf.") from error
    return message


def peek_order(head: bytes) -> tuple[str, int] | None:
    """Model and sequence number from the first bytes of a message that is too large to be read.

    They are its first two fields, so a refused request does not leave a gap in the model's sequence.
    """
    try:
        field_1_is_a_string, field_2_is_an_integer = 0x0A, 0x10
        if head[0] != field_1_is_a_string:
            return None
        length, at = _varint(head, 1)
        model_id, at = head[at : at + length].decode(), at + length
        if head[at] != field_2_is_an_integer:
            return None
        return model_id, _varint(head, at + 1)[0]
    except (IndexError, UnicodeDecodeError):
        return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if not byte & 0x80:
            return value, at


def check_size(message: ForwardBackwardMessage, tokens: int, cells: int) -> None:
    """Refuse a request whose tensors would be too large in all, before one of them is made.

    Args:
        message: The request.
        tokens: Most input tokens.
        cells: Most values of all tensors, sparse ones counted as dense.

    Raises:
        ValueError: More than that.
    """
    many_tokens = sum(len(chunk.encoded_text.tokens) // 4 for datum in message.data for chunk in datum.model_input)
    if many_tokens > tokens:
        raise ValueError(f"The request has {many_tokens} input tokens; this server takes {tokens}.")
    shapes = [list(tensor.shape) for datum in message.data for tensor in datum.loss_fn_inputs.values()]
    many_cells = sum(float(np.prod(shape, dtype=np.float64)) for shape in shapes if shape)
    if not many_cells <= cells:
        raise ValueError(f"The tensors of the request have {many_cells:.0f} cells in all; this server takes {cells}.")


def loss_config(message: ForwardBackwardMessage) -> dict[str, Any]:
    """The loss's settings; the second map has strings as well and wins."""
    config: dict[str, Any] = dict(message.loss_fn_config)
    for key, value in message.loss_fn_config_v2.items():
        config[key] = value.text if value.WhichOneof("value") == "text" else value.number
    return config


def datums(message: ForwardBackwardMessage) -> list[types.Datum]:
    """The data of a request (ValueError names the datum that is malformed)."""
    data = []
    for index, datum in enumerate(message.data):
        try:
            tokens = [token for chunk in datum.model_input for token in _tokens(chunk)]
            inputs: Any = {
                name: tensor_data(name, tensor, len(tokens)) for name, tensor in datum.loss_fn_inputs.items()
            }
        except ValueError as error:
            raise ValueError(f"Datum {index}: {error}") from error
        data.append(types.Datum(model_input=types.ModelInput.from_ints(tokens), loss_fn_inputs=inputs))
    return data


def _tokens(chunk: wire.Chunk) -> list[int]:
    kind = chunk.WhichOneof("chunk")
    if kind != "encoded_text":
        raise ValueError(f"its input has a chunk of {kind or 'no kind'}; the models here read text tokens alone.")
    return _array(chunk.encoded_text.tokens, np.dtype("<i4"), "its tokens").tolist()


def tensor_data(name: str, tensor: wire.Tensor, rows: int) -> types.TensorData:
    """A loss input, of `rows` rows if it is sparse (ValueError if its parts do not fit together)."""
    if tensor.dtype not in NUMPY:
        raise ValueError(f"{name} is neither float32 nor int64.")
    shape = list(tensor.shape)
    if any(size < 0 for size in shape) or int(np.prod(shape, dtype=np.float64)) > CELLS:
        raise ValueError(f"{name} has shape {shape}; at most {CELLS} cells are taken.")
    dtype, kind = NUMPY[tensor.dtype], NAME[tensor.dtype]
    if not tensor.HasField("sparse_csr"):
        values = _array(tensor.dense, dtype, name).copy()
        if shape and values.size != int(np.prod(shape)):
            raise ValueError(f"{name} of shape {shape} has {values.size} values.")
        return types.TensorData(data=values, dtype=kind, shape=shape or [values.size])
    csr = tensor.sparse_csr
    if len(shape) != 2 or shape[0] != rows:
        raise ValueError(f"{name} is sparse and has shape {shape} for {rows} input tokens.")
    sparse = types.TensorData(
        data=_array(csr.values, dtype, name).copy(),
        dtype=kind,
        shape=shape,
        sparse_crow_indices=_array(csr.crow_indices, np.dtype("<i8"), name).tolist(),
        sparse_col_indices=_array(csr.col_indices, np.dtype("<i8"), name).tolist(),
    )
    try:
        sparse.to_torch()
    except (RuntimeError, IndexError) as error:
        raise ValueError(f"{name} is no sparse tensor: {str(error).splitlines()[0]}") from error
    return sparse


def _array(data: bytes, dtype: np.dtype, what: str) -> np.ndarray:
    if len(data) % dtype.itemsize:
        raise ValueError(f"{what} has {len(data)} bytes, which are no whole number of {dtype.name} values.")
    return np.frombuffer(data, dtype=dtype)


def forward_backward_body(output: types.ForwardBackwardOutput) -> bytes:
    """The result of `forward_backward`: neighbouring data of one shape share a record, in the order of the request."""
    message = wire.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", metrics=output.metrics)
    for _, group in groupby(output.loss_fn_outputs, key=_layout):
        outputs = list(group)
        record = message.loss_fn_outputs.add(type_tag="ArrayRecord", num_datums=len(outputs))
        for name in outputs[0]:
            arrays = [datum[name].to_numpy() for datum in outputs]
            offsets = np.cumsum([0, *(array.nbytes for array in arrays)], dtype="<i8")
            tensor = record.fields[name]
            tensor.data = b"".join(array.tobytes() for array in arrays)
            tensor.offsets = offsets.tobytes()
            tensor.dtype = PROTO[outputs[0][name].dtype]
            tensor.trailing_shape.extend(arrays[0].shape[1:])
    return message.SerializeToString()


def _layout(output: Mapping[str, types.TensorData]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(name, data.dtype, data.to_numpy().shape[1:]) for name, data in output.items()]


def sample_body(response: types.SampleResponse) -> bytes:
    """The result of `asample`."""
    message = wire.SampleResponse(prompt_cache_hit_tokens=response.prompt_cache_hit_tokens)
    for sequence in response.sequences:
        added = message.sequences.add(
            stop_reason=STOP[sequence.stop_reason],
            tokens=np.asarray(sequence.tokens, dtype="<i4").tobytes(),
            logprobs=np.asarray(sequence.logprobs or [], dtype="<f4").tobytes(),
        )
        if sequence.topk_logprobs_np is not None:
            added.topk_sampled_logprobs.CopyFrom(_topk(sequence.topk_logprobs_np))
    if response.prompt_logprobs_np is not None:
        message.prompt_logprobs = response.prompt_logprobs_np.astype("<f4").tobytes()
    if response.topk_prompt_logprobs_np is not None:
        message.topk_prompt_logprobs.CopyFrom(_topk(response.topk_prompt_logprobs_np))
    if response.target_prompt_logprobs is not None:
        message.target_prompt_logprobs.CopyFrom(_tensor(response.target_prompt_logprobs))
    if (alternatives := response.prompt_alt_tokens) is not None:
        message.prompt_alt_tokens.tokens.CopyFrom(_tensor(alternatives.tokens))
        message.prompt_alt_tokens.logprobs.CopyFrom(_tensor(alternatives.logprobs))
    return message.SerializeToString()


def _topk(topk: TopkLogprobs) -> wire.TopkLogprobs:
    length, k = topk.token_ids.shape
    return wire.TopkLogprobs(
        token_ids=topk.token_ids.astype("<i4").tobytes(),
        logprobs=topk.logprobs.astype("<f4").tobytes(),
        k=k,
        length=length,
    )


def _tensor(data: types.TensorData) -> wire.Tensor:
    message = wire.Tensor(dtype=PROTO[data.dtype], shape=data.shape or [len(data.data)])
    values = data._numpy.tobytes()
    if data.sparse_crow_indices is None:
        message.dense = values
    else:
        message.sparse_csr.values = values
        message.sparse_csr.crow_indices = np.asarray(data.sparse_crow_indices, dtype="<i8").tobytes()
        message.sparse_csr.col_indices = np.asarray(data.sparse_col_indices, dtype="<i8").tobytes()
    return message

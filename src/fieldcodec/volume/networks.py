"""Frozen networks <-> bytes, by themselves or as differences to the same networks in an earlier frame."""

from dataclasses import replace

import numpy as np

from fieldcodec.coding.bytestream import ByteReader, ByteWriter
from fieldcodec.coding.weights import (
    decode_differences,
    decode_half,
    decode_weights,
    encode_differences,
    encode_half,
    encode_weights,
)
from fieldcodec.errors import FormatError
from fieldcodec.nets.frozen import FrozenNetwork, IntegerTensor
from fieldcodec.nets.spec import NetworkSpec


def encode_network(frozen: FrozenNetwork) -> bytes:
    """Halves with Blosc (the paper's way), or scales followed by entropy-coded integers."""
    halves = [tensor for tensor in frozen.tensors if isinstance(tensor, np.ndarray)]
    if halves:
        return encode_half(halves)
    integers = [tensor for tensor in frozen.tensors if isinstance(tensor, IntegerTensor)]
    scales = np.concatenate([tensor.scales for tensor in integers]).astype("<f4").tobytes()
    return scales + encode_weights([tensor.values for tensor in integers])


def decode_network(data: bytes, spec: NetworkSpec, weights: str) -> FrozenNetwork:
    """The inverse of `encode_network`; `weights` is "half" or "quantised"."""
    shapes = FrozenNetwork.shapes(spec)
    if weights == "half":
        halves = decode_half(data, shapes)
        if not all(np.isfinite(tensor).all() for tensor in halves):
            raise FormatError("a network holds weights that are not finite")
        return FrozenNetwork(spec, tuple(halves))
    if weights != "quantised":
        raise FormatError(f"weights are stored as {weights!r}; known are half and quantised")
    size = 4 * len(shapes) * spec.experts
    if len(data) < size:
        raise FormatError(f"a network's section has {len(data)} bytes, its scales alone need {size}")
    scales = np.frombuffer(data[:size], "<f4").reshape(len(shapes), spec.experts)
    if not np.isfinite(scales).all() or (scales < 0).any() or scales.max(initial=0) > 1e6:
        raise FormatError("a network's scales are not finite or out of range (allowed: 0 to 1e6)")
    values = decode_weights(data[size:], shapes)
    tensors = [IntegerTensor(tensor, scale) for tensor, scale in zip(values, scales, strict=True)]
    return FrozenNetwork(spec, tuple(tensors))


def encode_network_differences(frozen: FrozenNetwork, earlier: FrozenNetwork, rows: np.ndarray) -> bytes | None:
    """What experts differ from earlier ones in, then the experts that are new, by themselves.

    Args:
        rows: [K] which earlier expert each one is, -1 for those that are new.

    Returns:
        None where an expert is no sum of integers: other scales than before, halves, or too large a difference.
    """
    kept = np.flatnonzero(rows >= 0)
    now, before = _integers(frozen, kept), _integers(earlier, rows[kept])
    if not now or not before or any((a.scales != b.scales).any() for a, b in zip(now, before, strict=True)):
        return None
    try:
        differences = encode_differences([tensor.values for tensor in now], [tensor.values for tensor in before])
    except ValueError:
        return None
    new = np.flatnonzero(rows < 0)
    writer = ByteWriter()
    writer.blob(differences)
    fresh = FrozenNetwork(replace(frozen.spec, experts=len(new)), tuple(_integers(frozen, new)))
    writer.blob(encode_network(fresh) if len(new) else b"")
    return writer.getvalue()


def decode_network_differences(
    data: bytes, spec: NetworkSpec, earlier: FrozenNetwork, rows: np.ndarray
) -> FrozenNetwork:
    """The inverse of `encode_network_differences`.

    Raises:
        FormatError: the bytes are damaged, or the earlier network has another shape or is no network of integers.
    """
    if replace(spec, experts=earlier.spec.experts) != earlier.spec:
        raise FormatError("a network is stored as differences to one of another shape")
    kept, new = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
    before = _integers(earlier, rows[kept])
    if not before:
        raise FormatError("a network is stored as differences to one that is stored as halves")
    reader = ByteReader(data, "a network's differences")
    values = decode_differences(reader.blob(), [tensor.values for tensor in before])
    data_of_new = reader.blob()
    reader.end()
    if len(new):
        fresh = _integers(decode_network(data_of_new, replace(spec, experts=len(new)), "quantised"), slice(None))
    elif data_of_new:
        raise reader.error("weights of new experts are there, but no expert is new")
    else:
        fresh = [IntegerTensor(each[:0], tensor.scales[:0]) for each, tensor in zip(values, before, strict=True)]
    order = np.argsort(np.concatenate([kept, new]))
    tensors = [
        IntegerTensor(np.concatenate([each, added.values])[order], np.concatenate([old.scales, added.scales])[order])
        for each, old, added in zip(values, before, fresh, strict=True)
    ]
    return FrozenNetwork(spec, tuple(tensors))


def _integers(frozen: FrozenNetwork, experts: np.ndarray | slice) -> list[IntegerTensor]:
    """The tensors of some experts; none where they are halves."""
    return [
        IntegerTensor(tensor.values[experts], tensor.scales[experts])
        for tensor in frozen.tensors
        if isinstance(tensor, IntegerTensor)
    ]

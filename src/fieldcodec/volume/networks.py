"""Frozen networks <-> bytes."""

import numpy as np

from fieldcodec.coding.weights import decode_half, decode_weights, encode_half, encode_weights
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

"""A general coder of integer arrays: small numbers take few bits, and the coder learns which are common."""

import numpy as np

from fieldcodec.coding import range_coder as rc
from fieldcodec.jit import kernel

_CONTEXTS = 8
LIMIT = 1 << 61


@kernel
def _code(coder, buffer, values):  # type: ignore[no-untyped-def]
    models = rc.new_models(_CONTEXTS * rc.GOLOMB_MODELS)
    context = 0
    for i in range(values.size):
        buffer = rc.reserve(coder, buffer, np.int64(rc.GOLOMB_DECISIONS))
        value = rc.code_signed(coder, buffer, models, context * rc.GOLOMB_MODELS, values[i])
        values[i] = value
        size = 0  # the next number's models depend on the bit length of this one
        while size < 2 * (_CONTEXTS - 1) and abs(value) >> size:
            size += 1
        context = (size + 1) >> 1
    return buffer


def encode_integers(values: np.ndarray) -> bytes:
    """Code integers in -2^61..2^61-1 of any shape; their number and shape are not stored."""
    numbers = np.array(values, np.int64).ravel()
    if numbers.size and (numbers.min() < -LIMIT or numbers.max() >= LIMIT):
        raise ValueError(f"integers must be in -2^61..2^61-1, found {numbers.min()}..{numbers.max()}")
    coder = rc.encoder()
    return rc.finished(coder, _code(coder, rc.empty_buffer(), numbers))


def decode_integers(data: bytes, count: int, what: str = "coded integers") -> np.ndarray:
    """[count] int64: what `encode_integers` was given.

    Raises:
        FormatError: the bytes are damaged or of another number of integers.
    """
    stream = rc.input_buffer(data)
    coder = rc.decoder(stream)
    values = np.zeros(count, np.int64)
    _code(coder, stream, values)
    rc.check_finished(coder, stream, what)
    return values

"""An adaptive binary range coder in exact integer arithmetic, for use inside compiled kernels.

The coder is the carry-propagating one of LZMA with a 32-bit range, driven by probabilities of
16 bits. One state array serves both directions, so that a context model is written once and
encoder and decoder are mirror images by construction:

    coder = rc.encoder()                      coder = rc.decoder(buffer)
    buffer = rc.empty_buffer()                buffer = rc.input_buffer(data)
    buffer = rc.reserve(coder, buffer, n)     (no effect)
    bit = rc.code_bit(coder, buffer, bit, p)  bit = rc.code_bit(coder, buffer, 0, p)
    data = rc.finished(coder, buffer)         rc.check_finished(coder, buffer)

A decoder never reads outside its bytes: past their end it is fed zeros, and `check_finished`
tells a stream that ran out from one that was read to its end.
"""

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.jit import kernel

PROB_BITS = 16
PROB_ONE = 1 << PROB_BITS

_DECODES, _LOW, _RANGE, _CACHE, _PENDING, _POSITION = range(6)  # _LOW is the code word in a decoder
_STATE_SIZE = 6
_FULL = 0xFFFFFFFF
_TOP = 1 << 24
TAIL_BYTES = 4  # trailing zero bytes an encoder may leave out, and a decoder may read past the end

# A model of one bit: fast and slow probability of a 1 in 24 bits, and the bits seen up to the slow limit.
MODEL_SIZE = 3
_MODEL_BITS = 24
_FAST_LIMIT, _SLOW_LIMIT = 100, 1000
_RECIPROCAL = (2 * PROB_ONE // (2 * np.arange(_SLOW_LIMIT + 1, dtype=np.int64) + 3)).astype(np.int64)  # 1 / (n + 1.5)


def encoder() -> np.ndarray:
    """State of a new encoder."""
    return np.array([0, 0, _FULL, -1, 0, 0], np.int64)


def empty_buffer(size: int = 4096) -> np.ndarray:
    """A buffer for `code_bit`; `reserve` grows it."""
    return np.zeros(size, np.uint8)


def input_buffer(data: bytes) -> np.ndarray:
    """Bytes as the array that a decoder reads (writable only so that kernels see one array type)."""
    return np.frombuffer(bytearray(data), np.uint8) if data else np.zeros(0, np.uint8)


@kernel
def decoder(data):  # type: ignore[no-untyped-def]
    """State of a new decoder at the start of `data` (uint8)."""
    code = np.int64(0)
    for i in range(TAIL_BYTES):
        code = (code << 8) | (np.int64(data[i]) if i < data.size else np.int64(0))
    state = np.zeros(_STATE_SIZE, np.int64)
    state[_DECODES] = 1
    # The code word stays below the range, whatever the bytes are.
    state[_LOW] = code if code < _FULL else np.int64(_FULL - 1)
    state[_RANGE] = _FULL
    state[_POSITION] = TAIL_BYTES
    return state


@kernel
def decodes(state):  # type: ignore[no-untyped-def]
    """True for the state of a decoder."""
    return state[_DECODES] != 0


@kernel
def reserve(state, buffer, decisions):  # type: ignore[no-untyped-def]
    """The buffer, or a larger copy with room for `decisions` more bits; each takes two bytes at most."""
    if state[_DECODES]:
        return buffer
    need = state[_POSITION] + state[_PENDING] + 2 * decisions + 16
    if need <= buffer.size:
        return buffer
    larger = np.empty(max(need, 2 * buffer.size), np.uint8)
    for i in range(state[_POSITION]):
        larger[i] = buffer[i]
    return larger


@kernel
def _shift_low(state, buffer):  # type: ignore[no-untyped-def]
    """Move the top byte of `low` out; a byte that a carry may still change waits in the cache."""
    low = state[_LOW]
    if low < 0xFF000000 or low > _FULL:
        carry = low >> 32
        position = state[_POSITION]
        if state[_CACHE] >= 0:
            buffer[position] = (state[_CACHE] + carry) & 0xFF
            position += 1
        for _ in range(state[_PENDING]):
            buffer[position] = (0xFF + carry) & 0xFF
            position += 1
        state[_POSITION] = position
        state[_PENDING] = 0
        state[_CACHE] = (low >> 24) & 0xFF
    else:
        state[_PENDING] += 1
    state[_LOW] = (low & 0x00FFFFFF) << 8


@kernel
def code_bit(state, buffer, bit, probability):  # type: ignore[no-untyped-def]
    """Code one bit whose probability of being 1 is `probability` / 65536, in 1..65535; returns the bit."""
    size = state[_RANGE]
    bound = (size * probability) >> PROB_BITS
    if state[_DECODES]:
        bit = 1 if state[_LOW] < bound else 0
        if bit:
            size = bound
        else:
            state[_LOW] -= bound
            size -= bound
        while size < _TOP:
            position = state[_POSITION]
            byte = np.int64(buffer[position]) if position < buffer.size else np.int64(0)
            state[_LOW] = (state[_LOW] << 8) | byte
            state[_POSITION] = position + 1
            size <<= 8
    else:
        if bit:
            size = bound
        else:
            state[_LOW] += bound
            size -= bound
        while size < _TOP:
            _shift_low(state, buffer)
            size <<= 8
    state[_RANGE] = size
    return bit


@kernel
def finish(state, buffer):  # type: ignore[no-untyped-def]
    """End an encoder's stream; returns its number of bytes. Needs `reserve(state, buffer, 0)` before."""
    value = state[_LOW]
    last = value + state[_RANGE] - 1
    for bits in range(32, -1, -1):  # the value of the final interval that ends in most zero bits
        rounded = (last >> bits) << bits
        if rounded >= value:
            state[_LOW] = rounded
            break
    for _ in range(TAIL_BYTES + 1):
        _shift_low(state, buffer)
    length = state[_POSITION]
    for _ in range(TAIL_BYTES):
        if length > 0 and buffer[length - 1] == 0:
            length -= 1
    return length


@kernel
def is_finished(state, data):  # type: ignore[no-untyped-def]
    """True when a decoder has read all of its bytes and hardly more."""
    return data.size <= state[_POSITION] <= data.size + TAIL_BYTES


def finished(state: np.ndarray, buffer: np.ndarray) -> bytes:
    """End an encoder's stream and return its bytes."""
    buffer = reserve(state, buffer, 0)
    return buffer[: finish(state, buffer)].tobytes()


def check_finished(state: np.ndarray, data: np.ndarray, what: str) -> None:
    """Raise FormatError unless the decoder ended where its bytes end."""
    if not is_finished(state, data):
        raise FormatError(
            f"{what}: the coded stream is damaged: {data.size} bytes are there, "
            f"but {int(state[_POSITION])} were read; get the file again from its source"
        )


# --- adaptive bits ---------------------------------------------------------------------------


@kernel
def new_models(count):  # type: ignore[no-untyped-def]
    """[count, 3] int64: models of `count` bits, all undecided."""
    models = np.full((count, MODEL_SIZE), 1 << (_MODEL_BITS - 1), np.int64)
    models[:, 2] = 0
    return models


@kernel
def code_adaptive(state, buffer, models, index, bit):  # type: ignore[no-untyped-def]
    """Code one bit with the model `models[index]` and adapt it; returns the bit."""
    fast, slow, seen = models[index, 0], models[index, 1], models[index, 2]
    probability = (fast + 7 * slow) >> (3 + _MODEL_BITS - PROB_BITS)
    bit = code_bit(state, buffer, bit, min(max(probability, 1), PROB_ONE - 1))
    target = (1 << _MODEL_BITS) - 1 if bit else 0
    models[index, 0] = fast + (((target - fast) * _RECIPROCAL[min(seen, _FAST_LIMIT)]) >> PROB_BITS)
    models[index, 1] = slow + (((target - slow) * _RECIPROCAL[seen]) >> PROB_BITS)
    if seen < _SLOW_LIMIT:
        models[index, 2] = seen + 1
    return bit


@kernel
def code_raw(state, buffer, bits, value):  # type: ignore[no-untyped-def]
    """Code the low `bits` bits of a value without a model, highest first."""
    result = np.int64(0)
    for i in range(bits - 1, -1, -1):
        bit = code_bit(state, buffer, (value >> i) & 1, PROB_ONE // 2)
        result = (result << 1) | bit
    return result


@kernel
def code_tree(state, buffer, models, first, bits, value):  # type: ignore[no-untyped-def]
    """Code a value of `bits` bits with a binary tree of 2^bits models from `models[first]` on."""
    node = np.int64(1)
    for i in range(bits - 1, -1, -1):
        bit = code_adaptive(state, buffer, models, first + node, (value >> i) & 1)
        node = (node << 1) | bit
    return node - (np.int64(1) << bits)


GOLOMB_MODELS = 256  # models that `code_golomb` uses from `first` on
GOLOMB_DECISIONS = 128  # bits it codes at most, for `reserve`


@kernel
def code_golomb(state, buffer, models, first, value):  # type: ignore[no-untyped-def]
    """Code an integer in 0..2^62-1: its length in bits in unary, then the bits below the leading one.

    The unary part and the two bits after the leading one adapt, the others are raw.
    """
    target = value + 1
    length = np.int64(0)
    while length < 62:
        more = 1 if (target >> (length + 1)) > 0 else 0
        if not code_adaptive(state, buffer, models, first + length, more):
            break
        length += 1
    result = np.int64(1)
    for i in range(length - 1, -1, -1):
        bit = (target >> i) & 1
        depth = length - 1 - i
        if depth < 2:
            slot = first + 64 + length * 3 + (0 if depth == 0 else 1 + (result & 1))
            bit = code_adaptive(state, buffer, models, slot, bit)
        else:
            bit = code_bit(state, buffer, bit, PROB_ONE // 2)
        result = (result << 1) | bit
    return result - 1


@kernel
def code_signed(state, buffer, models, first, value):  # type: ignore[no-untyped-def]
    """Code an integer in -2^61..2^61-1 through `code_golomb`: 0, -1, 1, -2, 2, ..."""
    folded = code_golomb(state, buffer, models, first, (value << 1) ^ (value >> 63))
    return (folded >> 1) ^ -(folded & 1)

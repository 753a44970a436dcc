"""Groups of leaves or nodes that share nothing: each has a stream of its own, coded on parallel threads.

What codes a group works in both directions, as kernels do: given an encoder it fills the buffer, given a decoder it
reads it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fieldcodec.coding import range_coder as rc
from fieldcodec.coding.bytestream import ByteReader
from fieldcodec.threads import map_threads

Group = tuple[int, int]  # the first, and the one after the last
GroupCoder = Callable[[np.ndarray, np.ndarray, Group], np.ndarray]  # coder, buffer, group -> buffer


def encode_groups(code: GroupCoder, groups: Sequence[Group], threads: int | None) -> list[bytes]:
    """The stream of each group, in order."""

    def encode(group: Group) -> bytes:
        coder = rc.encoder()
        return rc.finished(coder, code(coder, rc.empty_buffer(), group))

    return map_threads(encode, groups, threads)


def decode_groups(code: GroupCoder, groups: Sequence[Group], reader: ByteReader, threads: int | None) -> None:
    """Decodes the streams that are left in the reader, one of each group.

    Raises:
        FormatError: there are more bytes, or fewer, or a stream does not end where its group ends.
    """
    streams = [rc.input_buffer(stream) for stream in reader.streams(len(groups))]
    reader.end()

    def decode(job: tuple[np.ndarray, Group]) -> None:
        stream, group = job
        coder = rc.decoder(stream)
        code(coder, stream, group)
        rc.check_finished(coder, stream, f"{reader.what} {group[0]}..{group[1] - 1}")

    map_threads(decode, list(zip(streams, groups, strict=True)), threads)

"""The codecs that fieldcodec is compared with, and fieldcodec itself, all behind one function.

A module for each: `openvdb`, `nanovdb`, `dense` (ZFP and SZ3), `draco` and `ours`; `peer` says what each must give.
"""

from peers.peer import TARGETS, Outcome, Peer, Quality

__all__ = ["TARGETS", "Outcome", "Peer", "Quality"]

"""fieldcodec itself, by way of the bytes of a `.fcodec` file, opened and decoded again.

A method of the codec enters as a way from a PSNR to the settings that ask for it, and a `Peer` below.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import fieldcodec as fc
from fieldcodec.grid.sparse_grid import SparseGrid
from peers.peer import TARGETS, Outcome, Peer, Quality, timed

SettingsFor = Callable[[float], fc.VolumeSettings]
"""PSNR in dB -> settings that ask for it."""


def compress(grid: SparseGrid, quality: Quality, *, settings_for: SettingsFor) -> Outcome:
    """Any grid; quality: the PSNR asked for. The file holds the exact tree, all values of tiles and the metadata."""
    settings = settings_for(float(quality))
    data, seconds_encode = timed(lambda: fc.encode_volume(grid, settings).to_bytes())
    back, seconds_decode = timed(lambda: fc.CompressedVolume.from_bytes(data).to_grids()[0])
    assert isinstance(back, SparseGrid)
    assert back.topology.equals(grid.topology), "the decoded tree differs"
    return Outcome(len(data), back.active_values(), seconds_encode, seconds_decode)


def network(psnr: float) -> fc.VolumeSettings:
    """The network method: training stops at the RMSE of this PSNR; 35 dB and more want the long schedule of `fine`."""
    preset = fc.VolumeSettings.preset("fine" if psnr >= 35 else "balanced")
    return replace(preset, target_rmse=10 ** (-psnr / 20))


PEERS = (Peer("fieldcodec-network", partial(compress, settings_for=network), "each", TARGETS),)

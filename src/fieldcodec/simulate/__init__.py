"""Sequences of volumes that the package makes itself, for tests, demos and benchmarks. No torch.

options -> SEQUENCES[kind] -> (frame number, VolumeFile), one after another
"""

from fieldcodec.simulate.leveque import leveque
from fieldcodec.simulate.options import SequenceMaker, SequenceOptions
from fieldcodec.simulate.plume import plume
from fieldcodec.simulate.splash import splash

SEQUENCES: dict[str, SequenceMaker] = {"leveque": leveque, "plume": plume, "splash": splash}
"""Makers by name: options -> frames, each as its number and its grids."""

__all__ = ["SEQUENCES", "SequenceMaker", "SequenceOptions"]

"""fieldcodec stores 3D fields very small with neural and hybrid codecs.

A map of the package, in the order in which data flow through it:

    io          files <-> grids: .vdb, .nvdb, dense arrays, meshes
    grid        the sparse tree: topology, values, transform, metadata
    lattice     grids -> spline coefficients
    fit, nets   grids -> network parameters
    coding      numbers <-> bytes, exactly
    container   the .fcodec file
    volume      the codec of sparse volumes (NeuralVDB)
    collection  the codec of collections of objects (ReFiNe)
    metrics     quality and rate
    render      pictures
    cli         the command

The names below are the public interface. They are loaded when first used, so that `import fieldcodec`
costs nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Threads that wait for others sleep: by default they spin, which takes a busy machine three times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from fieldcodec.collection.asset import Asset
    from fieldcodec.collection.compressed import CompressedCollection, open_collection
    from fieldcodec.collection.encode import add_to_collection, encode_collection
    from fieldcodec.collection.prepare import prepare as prepare_assets
    from fieldcodec.collection.settings import CollectionSettings
    from fieldcodec.field import Field
    from fieldcodec.fit.phases import FitEvent
    from fieldcodec.grid.sparse_grid import OpaqueGrid, SparseGrid, VolumeFile
    from fieldcodec.grid.topology import Topology
    from fieldcodec.grid.transform import GridTransform
    from fieldcodec.io.volumes import read_volume, read_volumes, write_volumes
    from fieldcodec.metrics.quality import compare_grids
    from fieldcodec.render.camera import Camera
    from fieldcodec.render.options import RenderOptions
    from fieldcodec.render.picture import render
    from fieldcodec.volume.codec import encode_volume
    from fieldcodec.volume.compressed import CompressedVolume
    from fieldcodec.volume.compressed import open_volume as open
    from fieldcodec.volume.quality import Quality
    from fieldcodec.volume.random_access import GridAccess
    from fieldcodec.volume.sequence.compressed import CompressedSequence, open_sequence
    from fieldcodec.volume.sequence.encode import encode_sequence
    from fieldcodec.volume.sequence.settings import SequenceSettings
    from fieldcodec.volume.settings import VolumeSettings

__version__ = "0.1.0"

_PUBLIC = {
    "Asset": ("fieldcodec.collection.asset", "Asset"),
    "Camera": ("fieldcodec.render.camera", "Camera"),
    "CollectionSettings": ("fieldcodec.collection.settings", "CollectionSettings"),
    "CompressedCollection": ("fieldcodec.collection.compressed", "CompressedCollection"),
    "CompressedSequence": ("fieldcodec.volume.sequence.compressed", "CompressedSequence"),
    "CompressedVolume": ("fieldcodec.volume.compressed", "CompressedVolume"),
    "Field": ("fieldcodec.field", "Field"),
    "FitEvent": ("fieldcodec.fit.phases", "FitEvent"),
    "GridAccess": ("fieldcodec.volume.random_access", "GridAccess"),
    "GridTransform": ("fieldcodec.grid.transform", "GridTransform"),
    "OpaqueGrid": ("fieldcodec.grid.sparse_grid", "OpaqueGrid"),
    "SequenceSettings": ("fieldcodec.volume.sequence.settings", "SequenceSettings"),
    "SparseGrid": ("fieldcodec.grid.sparse_grid", "SparseGrid"),
    "Topology": ("fieldcodec.grid.topology", "Topology"),
    "VolumeFile": ("fieldcodec.grid.sparse_grid", "VolumeFile"),
    "Quality": ("fieldcodec.volume.quality", "Quality"),
    "RenderOptions": ("fieldcodec.render.options", "RenderOptions"),
    "VolumeSettings": ("fieldcodec.volume.settings", "VolumeSettings"),
    "add_to_collection": ("fieldcodec.collection.encode", "add_to_collection"),
    "compare_grids": ("fieldcodec.metrics.quality", "compare_grids"),
    "encode_collection": ("fieldcodec.collection.encode", "encode_collection"),
    "encode_sequence": ("fieldcodec.volume.sequence.encode", "encode_sequence"),
    "encode_volume": ("fieldcodec.volume.codec", "encode_volume"),
    "open": ("fieldcodec.volume.compressed", "open_volume"),
    "open_collection": ("fieldcodec.collection.compressed", "open_collection"),
    "open_sequence": ("fieldcodec.volume.sequence.compressed", "open_sequence"),
    "prepare_assets": ("fieldcodec.collection.prepare", "prepare"),
    "read_volume": ("fieldcodec.io.volumes", "read_volume"),
    "read_volumes": ("fieldcodec.io.volumes", "read_volumes"),
    "render": ("fieldcodec.render.picture", "render"),
    "write_volumes": ("fieldcodec.io.volumes", "write_volumes"),
}
__all__ = [
    "Asset",
    "Camera",
    "CollectionSettings",
    "CompressedCollection",
    "CompressedSequence",
    "CompressedVolume",
    "Field",
    "FitEvent",
    "GridAccess",
    "GridTransform",
    "OpaqueGrid",
    "Quality",
    "RenderOptions",
    "SequenceSettings",
    "SparseGrid",
    "Topology",
    "VolumeFile",
    "VolumeSettings",
    "add_to_collection",
    "compare_grids",
    "encode_collection",
    "encode_sequence",
    "encode_volume",
    "open",
    "open_collection",
    "open_sequence",
    "prepare_assets",
    "read_volume",
    "read_volumes",
    "render",
    "write_volumes",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'fieldcodec' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])

"""One object of a collection as samples of its field: what a collection is fitted to and measured against."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from fieldcodec.grid.octree import Octree, cell_edge
from fieldcodec.nets.recursive_spec import Kind
from fieldcodec.radiance.marks import DEFAULT_UP, Direction

if TYPE_CHECKING:  # it needs torch, without which descriptions are read
    from fieldcodec.radiance.pixels import PixelTable


@final
@dataclass(frozen=True)
class Placement:
    """Where the cube [-1, 1]^3 of an object lies in the world: world = centre + scale * model."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """[n, 3] of the model -> [n, 3] float64 of the world."""
        return np.asarray(points, np.float64) * self.scale + np.asarray(self.centre)

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """[n, 3] of the world -> [n, 3] float64 of the model."""
        return (np.asarray(points, np.float64) - np.asarray(self.centre)) / self.scale


@final
@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points drawn evenly from a surface, in the cube [-1, 1]^3."""

    points: np.ndarray  # [n, 3] float32
    normals: np.ndarray  # [n, 3] float32, unit length; which of both sides they point to does not count
    colours: np.ndarray | None = None  # [n, 3] uint8, sRGB as the file has them


@final
@dataclass(frozen=True, eq=False)
class DistanceSamples:
    """Signed distances, negative inside, at points of the cube; in its units, not cut off."""

    points: np.ndarray  # [n, 3] float32
    distances: np.ndarray  # [n] float32


@final
@dataclass(frozen=True, eq=False)
class Asset:
    """One object with a surface. All samples are in model space, the cube [-1, 1]^3."""

    name: str
    placement: Placement
    surface: SurfaceSamples
    near: DistanceSamples  # around the surface: what distances are fitted to
    volume: DistanceSamples  # evenly from a box around the object: what inside and outside are measured on
    source_bytes: int = 0  # of the files that the object comes from; of those that several come from a part
    shared_files: tuple[str, ...] = ()  # hashes of those beside its own that other objects come from, too

    up: ClassVar[Direction] = DEFAULT_UP  # only radiance fields have another

    @property
    def has_colours(self) -> bool:
        return self.surface.colours is not None

    @property
    def kind(self) -> Kind:
        return "coloured" if self.has_colours else "distance"

    @lru_cache(maxsize=4)  # noqa: B019 - assets live as long as an encode does
    def octree(self, lods: int) -> Octree:
        """Cells that hold a sample of the surface, and the 26 around each; refine's dilated shell."""
        return dilated_octree(self.surface.points, lods)


@final
@dataclass(frozen=True, eq=False)
class SeenSamples:
    """Where light comes from along rays of cameras, drawn as often as a camera sees light from there."""

    points: np.ndarray  # [n, 3] float32, in the cube [-1, 1]^3
    directions: np.ndarray  # [n, 3] float32: unit vectors, from the camera to the point
    colours: np.ndarray  # [n, 3] uint8, sRGB as pictures have them


@final
@dataclass(frozen=True, eq=False)
class DensitySamples:
    """Densities at points of the cube that cameras see into."""

    points: np.ndarray  # [n, 3] float32
    densities: np.ndarray  # [n] float32, for each unit of length in the cube


@final
@dataclass(frozen=True, eq=False)
class ScenePictures:
    """All pixels of posed pictures."""

    pixels: "PixelTable"
    brightness: float | None  # of what is behind the object, 0 .. 1; None where alpha tells what is the object


@final
@dataclass(frozen=True, eq=False)
class RadianceAsset:
    """One radiance field. All samples are in model space, the cube [-1, 1]^3."""

    name: str
    placement: Placement
    seen: SeenSamples
    density: DensitySamples
    source_bytes: int = 0  # of the files that the object comes from; of those that several come from a part
    shared_files: tuple[str, ...] = ()  # hashes of those beside its own that other objects come from, too
    pictures: ScenePictures | None = None  # that it was taken from; in world space
    up: Direction = DEFAULT_UP  # the direction in world space that is up for those who look at it

    has_colours = True

    @property
    def kind(self) -> Kind:
        return "radiance"

    @lru_cache(maxsize=4)  # noqa: B019 - assets live as long as an encode does
    def octree(self, lods: int) -> Octree:
        """Cells that light comes from, and the 26 around each."""
        return dilated_octree(self.seen.points, lods)


AnyAsset = Asset | RadianceAsset


def dilated_octree(points: np.ndarray, lods: int) -> Octree:
    """The octree of the cells of the finest level that hold one of [n, 3] points, and of their 26 neighbours."""
    side = 1 << lods
    cells = np.unique(
        np.clip(((points.astype(np.float64) + 1) / cell_edge(lods)).astype(np.int64), 0, side - 1), axis=0
    )
    offsets = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    around = (cells[:, None] + offsets).reshape(-1, 3)
    return Octree.of_cells(around[((around >= 0) & (around < side)).all(axis=1)], lods)

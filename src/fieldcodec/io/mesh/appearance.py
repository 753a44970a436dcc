"""Meshes with their colours: of vertices, faces, materials and textures.

Colours are what a viewer shows without light, in sRGB. A texture of an `.mtl` stands for itself, as exporters leave any
number in `Kd` beside it; that of a glTF is multiplied by its factor and the colours of vertices, as the standard says.
Transparency is not read.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from fieldcodec.errors import InputError
from fieldcodec.io.mesh.companions import Companions
from fieldcodec.io.mesh.parts import connected_parts
from fieldcodec.io.mesh.read import Mesh, cleaned, kind_and_bytes, load_scene, reading_mesh, with_triangles
from fieldcodec.io.mesh.texture import Texture, to_linear, to_srgb

_UNCOLOURED = 204.0  # parts without a colour in a mesh with colours are a light grey
_LINEAR_KINDS = ("glb", "gltf")


@final
@dataclass(frozen=True, eq=False)
class Appearance:
    """Colours of the triangles of a mesh."""

    corner_colours: np.ndarray  # [m, 3, 3] float32 of 0 to 255: what a texture is multiplied by, or stands for itself
    corner_places: np.ndarray  # [m, 3, 2] float64: u and v
    charts: np.ndarray  # [m, 4] float64: the box in u and v around the triangles that hang together with each
    texture_of: np.ndarray  # [m] int64: rows of `textures`, -1 for none
    textures: tuple[Texture, ...]

    def colours(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[n, 3] uint8: colours on triangles [n] at places given by the weights [n, 3] of their corners."""
        colours = np.einsum("nc,nck->nk", weights, self.corner_colours[rows].astype(np.float64))
        for number, texture in enumerate(self.textures):
            mine = np.flatnonzero(self.texture_of[rows] == number)
            places = np.einsum("nc,nck->nk", weights[mine], self.corner_places[rows[mine]])
            texels = texture.at(places, self.charts[rows[mine]])
            is_plain = (self.corner_colours[rows[mine]] == 255).all(axis=(1, 2))
            tinted = to_srgb(to_linear(texels) * to_linear(colours[mine]))
            colours[mine] = np.where(is_plain[:, None], texels, tinted)
        return np.rint(np.clip(colours, 0, 255)).astype(np.uint8)


@final
@dataclass(frozen=True, eq=False)
class ColouredMesh:
    """What a file holds."""

    mesh: Mesh
    appearance: Appearance | None  # None: nothing in the file has a colour
    companions: Companions  # the other files that belong to it


@dataclass(frozen=True, eq=False)
class _Part:
    """One geometry of a file; arrays as in `Appearance`, [k] triangles."""

    vertices: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray | None
    places: np.ndarray | None
    image: Any = None


def read_coloured_mesh(path: str | Path) -> ColouredMesh:
    """The triangles of all objects of a mesh file as `read_mesh` gives them, and their colours.

    Raises:
        InputError: the file is missing, damaged, holds no triangle, is of an unknown kind, or a texture is missing.
        InvalidValuesError: a vertex is not finite.
        MissingPackageError: trimesh is not installed.
    """
    path = Path(path)
    kind, data = kind_and_bytes(path)
    companions = Companions(path)
    with reading_mesh(path, kind):
        scene = load_scene(kind, data, companions, with_materials=True)
        places = [scene.graph[node] for node in scene.graph.nodes_geometry]
        placed = [(scene.geometry[name], transform) for transform, name in places]
        parts = [_part(*item, kind in _LINEAR_KINDS) for item in placed if hasattr(item[0], "faces")]
        _check_textures(path, companions)
        starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
        mesh, kept = cleaned(
            np.concatenate([part.vertices for part in parts] or [np.zeros((0, 3))]),
            np.concatenate(
                [part.triangles + start for part, start in zip(parts, starts, strict=False)] or [np.zeros((0, 3))]
            ),
        )
        appearance = _appearance(parts, kept)
    return ColouredMesh(with_triangles(mesh, path), appearance, companions)


def _check_textures(path: Path, companions: Companions) -> None:
    """Missing materials are common and harm no shape; a material whose texture is missing has lost its colours."""
    missing = sorted(name for name in companions.missing if not name.lower().endswith(".mtl"))
    if missing:
        raise InputError(
            f"{path} names {', '.join(map(repr, missing))}, not found in {path.parent}; put the files there, "
            "or leave colours out (colour = none)"
        )


def _part(geometry: Any, transform: np.ndarray, is_linear: bool) -> _Part:
    triangles = np.asarray(geometry.faces, np.int64)
    if np.linalg.det(transform[:3, :3]) < 0:  # a mirror turns triangles over
        triangles = triangles[:, ::-1]
    vertices = np.asarray(geometry.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
    visual = geometry.visual
    if visual.kind == "vertex":
        colours = np.asarray(visual.vertex_colors)[triangles, :3]
        return _Part(vertices, triangles, _shown(colours, is_linear), None)
    if visual.kind == "face":
        colours = np.repeat(np.asarray(visual.face_colors)[:, None, :3], 3, axis=1)
        return _Part(vertices, triangles, _shown(colours, is_linear), None)
    if visual.kind != "texture":
        return _Part(vertices, triangles, None, None)
    image, colour = _material(visual.material, is_linear)
    places = None if image is None or visual.uv is None else np.asarray(visual.uv, np.float64)[triangles]
    tint = None if colour is None else np.broadcast_to(colour, (len(triangles), 3, 3))
    own = visual.vertex_attributes.get("color") if is_linear else None
    if own is not None:
        own = _shown(_as_bytes(np.asarray(own))[triangles, :3], is_linear)
        tint = own if tint is None else to_srgb(to_linear(own) * to_linear(tint))
    if places is not None and tint is None:
        tint = np.full((len(triangles), 3, 3), 255.0)
    return _Part(vertices, triangles, tint, places, image if places is not None else None)


def _material(material: Any, is_linear: bool) -> tuple[Any, np.ndarray | None]:
    """The image of a material, and the colour that it is multiplied by or that stands alone; None for none."""
    if is_linear:
        image, factor = material.baseColorTexture, material.baseColorFactor
        return image, None if factor is None else _shown(_as_bytes(np.asarray(factor))[:3], True)
    # trimesh invents images and colours where there are none; an invented image comes from no file
    image = getattr(material, "image", None)
    if image is not None and image.format is not None:
        return image, None
    is_given = "kd" in getattr(material, "kwargs", {})
    return None, np.asarray(material.diffuse, np.float64)[:3] if is_given else None


def _as_bytes(colours: np.ndarray) -> np.ndarray:
    """Colours of 0 to 1 or of integers as 0 to 255."""
    most = 1.0 if colours.dtype.kind == "f" else float(np.iinfo(colours.dtype).max)
    return colours.astype(np.float64) * (255 / most)


def _shown(colours: np.ndarray, is_linear: bool) -> np.ndarray:
    return to_srgb(np.asarray(colours) / 255) if is_linear else np.asarray(colours, np.float64)


def _appearance(parts: list[_Part], kept: np.ndarray) -> Appearance | None:
    """That of the triangles kept; None where no part has a colour."""
    if all(part.colours is None for part in parts):
        return None
    textures: list[Texture] = []
    numbers: dict[int, int] = {}  # of images by identity: parts share them
    colours, places, charts, texture_of = [], [], [], []
    for part in parts:
        shape = (len(part.triangles), 3, 3)
        colours.append(np.full(shape, _UNCOLOURED) if part.colours is None else part.colours)
        places.append(np.zeros((shape[0], 3, 2)) if part.places is None else part.places)
        charts.append(_charts(part))
        if part.image is not None and id(part.image) not in numbers:
            numbers[id(part.image)] = len(textures)
            textures.append(Texture(np.asarray(part.image.convert("RGB"))))
        texture_of.append(np.full(shape[0], -1 if part.image is None else numbers[id(part.image)]))
    return Appearance(
        np.concatenate(colours)[kept].astype(np.float32), np.concatenate(places)[kept], np.concatenate(charts)[kept],
        np.concatenate(texture_of)[kept], tuple(textures),
    )  # fmt: skip


def _charts(part: _Part) -> np.ndarray:
    """[k, 4]: boxes in u and v of charts: triangles that share vertices in the file, and so have one seamless map."""
    if part.places is None:
        return np.zeros((len(part.triangles), 4))
    chart = connected_parts(part.triangles, len(part.vertices))
    order = np.argsort(chart, kind="stable")
    starts = np.searchsorted(chart[order], np.arange(chart.max(initial=-1) + 1))
    low = np.minimum.reduceat(part.places.min(axis=1)[order], starts)
    high = np.maximum.reduceat(part.places.max(axis=1)[order], starts)
    return np.concatenate([low, high], axis=1)[chart]

"""Tiny scenes for the tests of posed images, written afresh for each."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Lens = tuple[int, int, int, int, Sequence[float]]  # number, model, width, height, numbers
Row = tuple[str, int, Sequence[float], Sequence[float]]  # name, camera, quaternion, translation


class SceneMaker:
    """Writes pictures and the files that say where their cameras are into one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pose(self, angle: float = 0.0, distance: float = 4.0) -> np.ndarray:
        """[4, 4]: a camera around the z axis that looks at the origin, z upwards; at angle 0 it stands at +x."""
        c, s = np.cos(angle), np.sin(angle)
        matrix = np.eye(4)
        matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = (-s, c, 0), (0, 0, 1), (c, s, 0)
        matrix[:3, 3] = distance * matrix[:3, 2]
        return matrix

    def picture(self, name: str, size: tuple[int, int] = (6, 4), mode: str = "RGBA", value: int = 100) -> Path:
        """A plain picture of width x height pixels."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        channels = len(Image.new(mode, (1, 1)).getbands())
        Image.new(mode, size, value if channels == 1 else (value,) * channels).save(path)
        return path

    def frame(self, name: str, matrix: np.ndarray | None = None, **more: Any) -> dict[str, Any]:
        """A frame of a transforms file."""
        return {"file_path": name, "transform_matrix": (self.pose() if matrix is None else matrix).tolist()} | more

    def transforms(self, frames: Sequence[Any], name: str = "transforms_train.json", **more: Any) -> Path:
        """A transforms file; its field of view is 90 degrees unless `more` says otherwise (None: nothing is stated)."""
        values = {"camera_angle_x": np.pi / 2} | more | {"frames": frames}
        path = self.folder / name
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
        return path

    def colmap(
        self,
        place: str,
        kind: str,
        cameras: Sequence[Lens],
        images: Sequence[Row],
        points: np.ndarray | None = None,
        model_name: str = "PINHOLE",
    ) -> Path:
        """A COLMAP model, `bin` or `txt`; the first image sees no point, the others two each."""
        folder = self.folder / place
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "bin":
            _write_binary(folder, cameras, images, points)
        else:
            _write_text(folder, cameras, images, points, model_name)
        return folder


def _write_binary(folder: Path, cameras: Sequence[Lens], images: Sequence[Row], points: np.ndarray | None) -> None:
    raw = struct.pack("<Q", len(cameras))
    for number, model, width, height, numbers in cameras:
        raw += struct.pack(f"<IiQQ{len(numbers)}d", number, model, width, height, *numbers)
    (folder / "cameras.bin").write_bytes(raw)
    raw = struct.pack("<Q", len(images))
    for row, (name, camera, rotation, translation) in enumerate(images):
        raw += struct.pack("<I7dI", row + 1, *rotation, *translation, camera) + name.encode() + b"\0"
        seen = 2 if row else 0
        raw += struct.pack("<Q", seen) + struct.pack("<ddq", 1.5, 2.5, -1) * seen
    (folder / "images.bin").write_bytes(raw)
    if points is not None:
        raw = struct.pack("<Q", len(points))
        for row, place in enumerate(points):
            raw += struct.pack("<Q3d3BdQ", row, *place, 1, 2, 3, 0.5, row % 3) + struct.pack("<II", 1, 0) * (row % 3)
        (folder / "points3D.bin").write_bytes(raw)


def _write_text(
    folder: Path, cameras: Sequence[Lens], images: Sequence[Row], points: np.ndarray | None, model_name: str
) -> None:
    def words(values: Sequence[float]) -> str:
        return " ".join(repr(float(value)) for value in values)

    lines = [f"{number} {model_name} {w} {h} {words(numbers)}" for number, _, w, h, numbers in cameras]
    (folder / "cameras.txt").write_text("\n".join(["# Camera list", *lines, ""]))
    lines = ["# Image list"]
    for row, (name, camera, rotation, translation) in enumerate(images):
        seen = "1.5 2.5 -1 3.5 4.5 7" if row else ""
        lines += [f"{row + 1} {words(rotation)} {words(translation)} {camera} {name}", seen]
    (folder / "images.txt").write_text("\n".join([*lines, ""]))
    if points is not None:
        lines = [f"{row} {words(place)} 1 2 3 0.5 1 0" for row, place in enumerate(points)]
        (folder / "points3D.txt").write_text("\n".join(["# 3D points", *lines, ""]))


@pytest.fixture
def maker(tmp_path: Path) -> SceneMaker:
    """Writes scenes into `tmp_path / scene`."""
    folder = tmp_path / "scene"
    folder.mkdir()
    return SceneMaker(folder)

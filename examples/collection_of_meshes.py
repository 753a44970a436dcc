"""Meshes as one small file: a collection is trained, an object added, and one of them taken out again.

    python examples/collection_of_meshes.py [MESH ...]

Without arguments it makes three boxes. Trains for some seconds only: real collections take minutes. Needs
`pip install 'fieldcodec[mesh]'`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import fieldcodec as fc
from fieldcodec.collection.measure import measure_item
from fieldcodec.collection.surface import level_set_of_item
from fieldcodec.io.mesh import Mesh
from fieldcodec.io.mesh.write import write_mesh

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
TRIANGLES = np.array([[a, b, c] for a, b, c, _ in SIDES] + [[a, c, d] for a, _, c, d in SIDES])


def box(folder: Path, name: str, sides: tuple[float, float, float]) -> Path:
    write_mesh(folder / f"{name}.ply", Mesh.of(CORNERS * sides, TRIANGLES))
    return folder / f"{name}.ply"


def main() -> None:
    settings = fc.CollectionSettings(
        lods=3, latent=8, base_width=32, width=16, steps=150, points_per_object=512, surface_points=5_000
    )
    with tempfile.TemporaryDirectory() as place:
        folder, file = Path(place), Path(place) / "things.fcodec"
        meshes = [Path(name) for name in sys.argv[1:]] or [
            box(folder, "brick", (1.0, 0.6, 0.4)),
            box(folder, "cube", (0.7, 0.7, 0.7)),
            box(folder, "slab", (1.0, 0.5, 0.6)),
        ]
        *first, last = fc.prepare_assets(meshes, settings, keep=False)
        fc.encode_collection(first or [last], settings).save(file)
        collection = fc.open_collection(file)
        if first:
            collection = fc.add_to_collection(collection, [last], settings)
            collection.save(file, overwrite=True)
        print(f"{len(collection)} objects in {file.stat().st_size:,} bytes: {', '.join(collection.names)}")
    item = collection[last.name]
    grid = level_set_of_item(item)
    quality = measure_item(item, last, points=2_000)
    print(f"{item.name}: gIoU {quality.iou:.1f} %, as a level set {grid.topology.num_active_voxels:,} active voxels")


if __name__ == "__main__":
    main()

"""`fieldcodec decode` (and `mesh`) of a collection: its objects as meshes, level sets, points or radiance grids."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldcodec.cli.collections.items import find_item, open_item, warn_of_coarse_levels
from fieldcodec.cli.console import ProgressBars, result_json, say
from fieldcodec.cli.inputs import refuse_options
from fieldcodec.cli.outputs import check_output
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.item import ItemField
from fieldcodec.collection.radiance_grid import grid_of_item
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.collection.surface import level_set_of_item, mesh_of_item, points_of_item
from fieldcodec.errors import ExitCode, InputError, UsageError
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.io.mesh.write import write_mesh, write_points
from fieldcodec.io.volumes import write_volumes
from fieldcodec.radiance.volume import to_volumes

if TYPE_CHECKING:
    from fieldcodec.cli.decode import Decode
    from fieldcodec.cli.mesh import Mesh

SUFFIXES = (".ply", ".obj", ".vdb")


@dataclass(frozen=True)
class ItemWriter:
    """Writes objects, each as the suffix of its file says."""

    resolution: int | None = None
    points: bool = False

    def __call__(self, item: ItemField | RadianceItem, output: Path, *, overwrite: bool) -> dict[str, Any] | None:
        """What was written, in numbers; None where the object has no surface, and so no file.

        Raises:
            UsageError: the object is a radiance field, and the file would be no volume.
        """
        facts: dict[str, Any] = {"name": item.name, "output": str(output)}
        if isinstance(item, RadianceItem):
            if output.suffix.lower() != ".vdb":
                raise UsageError(
                    f"the object {item.name!r} is a radiance field, which has no surface; it is written as .vdb, or "
                    "drawn: fieldcodec render"
                )
            grid = grid_of_item(item, self.resolution)
            write_volumes(output, to_volumes(grid))
            facts |= {"active_voxels": grid.lattice.num_corners}
        elif self.points:
            points = points_of_item(item)
            if not len(points.points):
                return None
            write_points(output, points.points, points.normals, points.colours, overwrite=overwrite)
            facts |= {"points": len(points.points)}
        elif output.suffix.lower() == ".vdb":
            surface = level_set_of_item(item, self.resolution)
            if not surface.topology.num_active_voxels:
                return None
            write_volumes(output, VolumeFile((surface,)))
            facts |= {"active_voxels": surface.topology.num_active_voxels}
        else:
            found = mesh_of_item(item, self.resolution)
            if not len(found.mesh.triangles):
                return None
            write_mesh(output, found.mesh, found.normals, found.colours, overwrite=overwrite)
            facts |= {"vertices": len(found.mesh.vertices), "triangles": len(found.mesh.triangles)}
        return {**facts, "bytes": output.stat().st_size}


def decode_objects(options: "Decode") -> ExitCode:
    """Writes one object, or all of them into a folder."""
    reason = (
        f"{options.input} holds a collection of objects; --item, --format, --points, --resolution, --lod are for it"
    )
    given: dict[str, object] = {"--frames": options.frames, "--grids": options.grids, "--bbox": options.bbox}
    refuse_options({**given, "--level": options.level or None}, reason)
    if options.points and options.resolution is not None:
        raise UsageError("--points are centres of small cells, so --resolution says nothing about them; leave it out")
    collection = open_collection(options.input)
    names = collection.names
    if options.item is not None:
        names = (names[find_item(names, options.item, options.input)],)
        outputs = [_output_of_one(options, _default_name(options, collection, names[0]))]
    else:
        outputs = _outputs_of_all(options, [_default_name(options, collection, name) for name in names])
    for output in outputs:
        check_output(output, overwrite=options.overwrite, source=options.input)
    warn_of_coarse_levels(collection, options.lod)
    writer, start, written = ItemWriter(options.resolution, options.points), time.perf_counter(), []
    with ProgressBars() as bars:
        for place, (name, output) in enumerate(zip(names, outputs, strict=True)):
            bars.share("objects", place / len(names))
            item = open_item(collection, name, options.input, lod=options.lod, device=options.device)
            facts = writer(item, output, overwrite=options.overwrite)
            if facts is None:
                say(f"fieldcodec: warning: {name!r} has no surface, so nothing is written for it")
            else:
                written.append(facts)
    seconds = time.perf_counter() - start
    if options.json:
        result_json({"input": str(options.input), "seconds": seconds, "items": written})
    elif len(written) == 1:
        say(f"wrote {written[0]['output']}: {_count(written[0])} in {seconds:.1f} s")
    elif written:
        say(f"wrote {len(written)} objects into {outputs[0].parent} in {seconds:.1f} s")
    return ExitCode.OK


def mesh_of_object(options: "Mesh") -> ExitCode:
    """`fieldcodec mesh` of one object of a collection: what `decode --item` does, at the resolution it chooses."""
    if options.item is None:
        raise UsageError(f"{options.input} holds a collection of objects; choose one with --item NAME")
    reason = "an object of a collection is one surface in world space"
    index = True if options.index else None
    refuse_options({"--iso": options.iso, "--grid": options.grid, "--frame": options.frame, "--index": index}, reason)
    collection = open_collection(options.input)
    name = collection.names[find_item(collection.names, options.item, options.input)]
    output = options.output or options.input.parent / f"{name}.ply"
    if output.suffix.lower() not in SUFFIXES[:2]:
        raise UsageError(f"{output.name} does not end in one of {', '.join(SUFFIXES[:2])}, the meshes written")
    check_output(output, overwrite=options.overwrite, source=options.input)
    item = open_item(collection, name, options.input, device=options.device)
    facts = ItemWriter()(item, output, overwrite=options.overwrite)
    if facts is None:
        raise UsageError(f"the object {name!r} has no surface")
    if options.json:
        result_json({"input": str(options.input), **facts})
    else:
        say(f"wrote {output}: {_count(facts)}")
    return ExitCode.OK


def _default_name(options: "Decode", collection: CompressedCollection, name: str) -> str:
    """Of the file of an object."""
    usual = "vdb" if collection.entry(name).kind == "radiance" else "ply"
    return f"{name}.{options.format or usual}"


def _output_of_one(options: "Decode", default: str) -> Path:
    """The file of one object; its suffix says what is written."""
    if options.output is None:
        return _checked(options, options.input.parent / default)
    if options.output.is_dir():
        return _checked(options, options.output / default)
    return _checked(options, options.output)


def _outputs_of_all(options: "Decode", names: Sequence[str]) -> list[Path]:
    """A file for each object in a folder, which is made where it is missing."""
    if not names:
        raise UsageError(f"{options.input} holds no object")
    folder = options.output or options.input.with_suffix("")
    if folder.suffix.lower() in SUFFIXES and not folder.is_dir():
        raise UsageError(
            f"{options.input} holds {len(names)} objects, but {folder} is one file; choose an object with --item NAME, "
            "or give a folder"
        )
    outputs = [_checked(options, folder / name) for name in names]
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
    return outputs


def _checked(options: "Decode", output: Path) -> Path:
    suffix = output.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"the output {output.name} does not end in one of {', '.join(SUFFIXES)}")
    if options.format is not None and suffix != f".{options.format}":
        raise UsageError(f"--format {options.format} and the output {output.name} do not agree; leave one of them out")
    if options.points and suffix != ".ply":
        raise UsageError(f"points are written as .ply, not as {suffix}")
    return output


def _count(facts: dict[str, Any]) -> str:
    words = {"points": "points", "active_voxels": "active voxels", "triangles": "triangles"}
    return next(f"{facts[key]:,} {word}" for key, word in words.items() if key in facts)

"""The other codecs by name."""

from collections.abc import Sequence

from fieldcodec.bench.peer import Peer
from fieldcodec.bench.peers import dense, draco, nanovdb, openvdb
from fieldcodec.errors import UsageError
from fieldcodec.io.mesh.read import Mesh

_GENERAL = {peer.name: peer for peer in (*openvdb.PEERS, *nanovdb.PEERS, *dense.PEERS)}
NAMES = (*_GENERAL, draco.NAME)


def peers(wanted: Sequence[str], mesh: Mesh | None = None, *, close_holes: bool = True) -> list[Peer]:
    """The codecs named, in the order of `NAMES`.

    Args:
        wanted: names or their beginnings, such as `nanovdb` for all codecs of NanoVDB; `all` and `none` as they say.
        mesh: what a level set was made from; Draco is there only with it.

    Raises:
        UsageError: a name is unknown, or Draco is asked for without a mesh.
    """
    chosen: set[str] = set()
    for name in wanted:
        if name not in ("all", "none"):
            found = [known for known in NAMES if known == name or known.startswith(f"{name}-")]
            if not found:
                raise UsageError(f"unknown codec {name!r}; known are {', '.join(NAMES)}, all and none")
            chosen.update(found)
    if draco.NAME in chosen and mesh is None:
        raise UsageError("draco codes the mesh that a level set was made from; name it with --mesh, or leave draco out")
    if "all" in wanted:
        chosen.update(NAMES)
    known = dict(_GENERAL)
    if mesh is not None:
        known[draco.NAME] = draco.peer_of(mesh, close_holes=close_holes)
    return [known[name] for name in NAMES if name in chosen and name in known]

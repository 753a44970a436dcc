"""References that are kept: those used last, as far as memory goes, and never one of another grid."""

import gc
import threading

import numpy as np

from fieldcodec.grid.topology import Topology
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.temporal.kept import Kept
from fieldcodec.volume.temporal.prediction import Reference


def grid() -> CompressedGrid:
    return CompressedGrid({"name": "a"}, {})


def reference(num_bytes: int = 100) -> Reference:
    nodes = {name: np.zeros(0, np.uint8) for name in Topology.__dataclass_fields__}
    numbers = np.zeros(num_bytes // 4, np.int32)
    return Reference(Topology(**nodes), numbers, np.zeros(1, np.int32), (1.0,), (0.0,), distances=False)


def test_what_is_used_last_stays() -> None:
    kept, grids, references = Kept(250), [grid() for _ in range(3)], [reference() for _ in range(3)]
    for each, known in zip(grids[:2], references, strict=False):
        assert kept.get(each) is None
        assert kept.put(each, known) is known
    assert kept.get(grids[0]) is references[0]
    kept.put(grids[2], references[2])
    assert [kept.get(each) for each in grids] == [references[0], None, references[2]]


def test_one_is_always_kept() -> None:
    kept, small, large = Kept(250), grid(), grid()
    kept.put(small, reference())
    known = kept.put(large, reference(1000))
    assert kept.get(large) is known
    assert kept.get(small) is None


def test_dead_grids_are_let_go_and_their_numbers_are_nobodys() -> None:
    kept, gone, other = Kept(1000), grid(), grid()
    kept.put(gone, reference())
    place = id(gone)
    del gone
    gc.collect()
    heirs = [grid() for _ in range(200)]  # one of them mostly gets the number of the one that is gone
    assert all(kept.get(each) is None for each in heirs)
    kept.put(other, reference())
    assert set(kept._entries) == {id(other)}
    assert place != id(other)


def test_threads_do_not_disturb_one_another() -> None:
    kept, grids = Kept(350), [grid() for _ in range(8)]
    known = [reference() for _ in grids]
    wrong: list[object] = []

    def work(seed: int) -> None:
        for place in np.random.default_rng(seed).integers(0, len(grids), 400).tolist():
            found = kept.get(grids[place]) or kept.put(grids[place], known[place])
            if found is not known[place]:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(each.num_bytes for _, each in kept._entries.values()) <= 350

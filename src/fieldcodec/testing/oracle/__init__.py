"""A second, slow decoder of `.fcodec` volumes, written from docs/format.md and docs/format-coders.md alone.

It shares no code with the codec (no container, coders, networks or volume modules, no compiled kernels, no
PyTorch): what both agree on is what the specification says. Integers are Python's, so nothing can overflow.
From below: `reader`, `meta_words`, `container`, `bits` (range coder), `leaf_masks`, `node_masks`, `slot_values`,
`weights`, `networks`, `fields`; `plane`, `learners`, `coefficients`, `margin_masks`, `residuals`, `refinement`,
`mesh`, `scale`, `lattices`, `guides`; `tree`, `values`, and `volume` with `decode_volume`. Meant for volumes of some
leaves.
"""

"""A second, slow decoder of `.fcodec` files, written from docs/format.md and docs/format-coders.md alone.

It shares no code with the codec (no container, coders, networks or volume modules, no compiled kernels, no
PyTorch): what both agree on is what the specification says. Integers are Python's, so nothing can overflow.
From below: `reader`, `meta_words`, `container`, `bits` (range coder), `leaf_masks`, `node_masks`, `slot_values`,
`weights`, `networks`, `fields`; `plane`, `learners`, `coefficients`, `splines`, `margin_masks`, `residuals`,
`refinement`, `mesh`, `scale`, `warp`, `references`, `lattices`, `guides`; `tree`, `values`, `volume` with
`decode_volume`, `levels` with `decode_levels`, `sequence` with `decode_sequence`, and `collection` with
`decode_collection`. Meant for volumes of some leaves, and objects of some hundred cells.
"""

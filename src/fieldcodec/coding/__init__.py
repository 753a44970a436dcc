"""Numbers <-> bytes, in exact integer arithmetic; no networks, no files.

From below: `jit`, `threads`, `bytestream`; `range_coder` and `mixing` (adaptive bits and their mixing);
`neighbours`; then what volumes are made of: `masks` (active voxels), `node_masks` (children and
tiles), `palette` (inactive and tile values), `arrays` (anything), `integers`, `weights` (networks).
The bytes are specified in docs/format.md.
"""

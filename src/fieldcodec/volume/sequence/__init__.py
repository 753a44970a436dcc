"""Sequences of volumes: groups of frames in one file (docs/format.md, Sequences).

    frames -> groups of N -> [group_encode] -> CompressedGroup -> a section each -> CompressedSequence -> frame k

`layout` is the file's description, `group` one group, `compressed` the opened file; `encode` makes one, group by
group, with `partial` keeping what is finished on disk and `workers` running groups side by side.
"""

"""The `.fcodec` file: magic, version, table of checksummed sections, limits. Knows bytes only.

`format` holds the numbers of docs/format.md, `container` reads and writes files, `canonical_json` the
META section, `files` writes any file completely or not at all.
"""

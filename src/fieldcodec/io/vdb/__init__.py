"""OpenVDB's `.vdb` files: exact reading and writing of trees, tiles, inactive values, transforms and metadata."""

from fieldcodec.io.vdb.reader import GridSummary, VdbSummary, read_vdb, read_vdb_summary
from fieldcodec.io.vdb.writer import Compression, write_vdb

__all__ = ["Compression", "GridSummary", "VdbSummary", "read_vdb", "read_vdb_summary", "write_vdb"]

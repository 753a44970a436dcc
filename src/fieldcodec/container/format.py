"""What a `.fcodec` file is made of, and its limits: the numbers of docs/format.md in one place."""

import struct
from enum import IntEnum, IntFlag

MAGIC = b"\x89FCD\r\n\x1a\n"  # a high bit, a CR-LF pair and a lone LF: text-mode damage shows in them
MAJOR, MINOR = 1, 0  # 1.0: the first format

PREAMBLE = struct.Struct(
    "<8sHHIQQ"
)  # magic, major, minor, sections, length of the file, checksum of preamble and table
ENTRY = struct.Struct("<HHIQQQ")  # id, flags, grid, offset, length, checksum of the section

MAX_SECTIONS = 1 << 16
MAX_SECTION_BYTES = 1 << 40
MAX_META_BYTES = 1 << 24
MAX_META_DEPTH = 32

WHOLE_FILE = 0xFFFFFFFF  # the grid number of a section that belongs to no single grid


class SectionId(IntEnum):
    """Kinds of sections; append only, and never give a number a new meaning."""

    META = 1  # canonical JSON: what the file holds
    ROOT = 2  # root tiles and origins of upper nodes
    UPPER_MASKS = 3
    LEVEL1_NETWORK = 4  # classifier of the slots of lower nodes
    LOWER_MASKS = 5
    LEVEL0_NETWORK = 6  # classifier of voxels
    LEAF_MASKS = 7
    INACTIVE_VOXELS = 8
    INACTIVE_LOWER_TILES = 9
    INACTIVE_UPPER_TILES = 10
    INACTIVE_ROOT_TILES = 11
    ACTIVE_TILES = 12
    TILE_NETWORK = 13  # regressor of active tiles of lower nodes
    VOXEL_VALUES = 14  # active voxels, stored exactly
    VOXEL_NETWORK = 15  # regressor of active voxels
    OPAQUE_GRID = 16  # a grid carried byte for byte
    LATTICE = 17  # spline coefficients of active voxels' values
    VOXEL_RESIDUALS = 18  # what a lattice leaves open, voxel by voxel
    MESH = 19  # the surface of a level set as a coded mesh
    SIGNS = 20  # which active voxels lie inside the surface
    REFINEMENT = 21  # a network that mends what lattice and residuals give
    GROUP = 22  # of a sequence: a group of frames, a file inside the file; its grid number counts groups
    MOTION = 23  # between a frame of a sequence and the one that it is predicted from
    GRID = 24  # of a group of frames: all sections of one grid
    RECURSIVE_NETWORKS = 25  # of a collection: the networks that all objects share
    LATENTS = 26  # of a collection: what unfolds to an object, for each
    TREE_CORRECTIONS = 27  # of a collection: where octrees differ from what the networks say
    STORED_LEVEL = 28  # the grid at a coarser resolution, a file inside the file; need not be understood
    LATENT_DETAILS = 29  # of a collection: what is added to the latents of an object's cells of one level


class SectionFlag(IntFlag):
    """Flags of a section; the other bits are 0."""

    MUST_UNDERSTAND = 1  # a reader that does not know the section's id refuses the file

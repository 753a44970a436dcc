"""How good and how small: quality of decoded grids, differences of files, sizes, reports."""

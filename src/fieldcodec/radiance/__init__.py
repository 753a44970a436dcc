"""Radiance fields: density and colour by direction, fitted to posed pictures, drawn by volume rendering."""

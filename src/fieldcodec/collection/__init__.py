"""Codec 2: collections of assets as one latent each and shared networks that unfold it (ReFiNe, 2024).

meshes, level sets -> Asset -> [ fit ] -> CompressedCollection -> .fcodec -> fields, meshes, pictures
"""

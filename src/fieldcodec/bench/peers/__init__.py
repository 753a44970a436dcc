"""The codecs that fieldcodec is compared with: `openvdb`, `nanovdb`, `dense` (ZFP and SZ3) and `draco`."""

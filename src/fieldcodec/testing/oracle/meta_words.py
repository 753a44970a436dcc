"""The preset dictionary of packed JSON, as at the end of docs/format.md."""

WORDS = b"".join(
    (
        b'"activation":"sin","depth":"experts":"extent":"feature_map":"fourier","fourier_scale":2.0,"fourier_size":',
        b'"frequency":1.5,"hash_base":8,"hash_features":2,"hash_finest":128,"hash_levels":8,"hash_log2_table":11,',
        b'"outputs":1,"seed":0,"width":"level0":{"level1":{"subdomains":{"cells":[[0,0,0]],"halo":"origin":"size":',
        b'"instance_of":"opaque":{"type":"method":"network","scale":[1.0],"method":"palette"},"method":"raw"},',
        b'"tree":"neural","value_type":"vec3s","value_type":"double","value_type":"int32","value_type":"half",',
        b'"map":"ScaleTranslateMap","map":"ScaleMap","map":"AffineMap","map":"TranslationMap","map":"UnitaryMap",',
        b'["vector_type","string","["is_saved_as_half_float","bool","["creator","string","["file_mem_bytes","int64","',
        b'["file_voxel_count","int64","["file_bbox_min","vec3i","["file_bbox_max","vec3i","["file_compression","string","',
        b'["name","string","["is_local_space","bool","["value_type","string","["class","string","bGV2ZWwgc2V0"]',
        b'["class","string","Zm9nIHZvbHVtZQ=="]Ymxvc2MgKyBhY3RpdmUgdmFsdWVzdWxsfloat"name":"density","name":"surface",',
        b'"map":"UniformScaleTranslateMap","payload":"AAAAAAAA4D8AAAAAAADgPwAAAAAAAOA/AAAAAAAAJEAAAAAAAAAkQAAAAAAAACRA',
        b"mpmZmZmZuT+amZmZmZm5P5qZmZmZmbk/exSuR+F6hD97FK5H4XqEP3sUrkfheoQ/AAAAAAAA8D8AAAAAAADwPwAAAAAAAPA/AAAAAAAA",
        b'{"grids":[{"active_voxels":1"background":"AAAAAA==","background":"AABAQA==","bounds":[["corrections":0,"gave_up":0,',
        b'"metadata":[],"networks":{},"nodes":{"leaves":"lower_nodes":1"root_tiles":0,"upper_nodes":1},"save_as_half":true,',
        b'"save_as_half":false,"tiles":{"entries":1,"method":"palette"},"tiles":{"entries":0,"method":"none"},',
        b'"topology_hash":"","transform":{"map":"UniformScaleMap","payload":""},"tree":"explicit","value_type":"float",',
        b'"values":{"banded":false,"exact":"f4","guided":false,"high":[0.99,"levels":[[8,3,64],[4,3,"low":[-0."mesh":',
        b'"values":{"banded":true,"exact":"","guided":true,"high":[1.0],"levels":[[8,3,64]],"low":[0.0],"mesh":0.0,',
        b'"method":"lattice","offset":[0.0],"refined":true,"residual":62,"residual":0,"signs":true,"unit":[0.00',
        b']},"weights":"quantised"}],"kind":"volume","metadata":[],"settings":{"quality":{"iou":null,"lossless":false,',
        b'"max_error":null,"mcd":null,"psnr":null,"rmse":null,"size":null},"preset":"balanced"}}',
    )
)

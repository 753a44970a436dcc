"""Pictures of a scene with the cameras that took them.

    transforms*.json ----> layout.Listing --+
                                            +--> read_posed: pictures found, everything checked --> PosedScene
    COLMAP .txt or .bin -> layout.Listing --+

Cameras follow one convention whatever the file's: see `PosedCamera`.
"""

from fieldcodec.io.posed.camera import PosedCamera, focus, project, rays
from fieldcodec.io.posed.picture import over, shrunk
from fieldcodec.io.posed.read import read_posed
from fieldcodec.io.posed.scene import PosedScene, PosedView

__all__ = ["PosedCamera", "PosedScene", "PosedView", "focus", "over", "project", "rays", "read_posed", "shrunk"]

"""Fields to images.

The package can be called: `fieldcodec.render(...)` is `fieldcodec.render.picture.render(...)`. Python gives a
package's name to its submodule as soon as that is imported, so the function of that name lives here.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module("fieldcodec.render.picture").render(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

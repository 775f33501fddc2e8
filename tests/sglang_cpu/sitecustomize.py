"""For SGLang on a CPU, in the environment of `make test-sglang` only: two modules that it imports and never uses there.

Without CUDA, ``torchvision._meta_registrations`` fails over operators that are not built, and ``vllm._custom_ops`` is
not installed.
"""

import sys
import types
from importlib.machinery import ModuleSpec


def put(name: str, **contents: object) -> None:
    """An empty module, with some contents, that imports find."""
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(contents)
    sys.modules[name] = module


put("torchvision._meta_registrations")
put("vllm", __path__=[])
put("vllm._custom_ops", rotary_embedding=None)

"""`torch.types`: type aliases, for annotations."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import thalweg
from thalweg import Size
from thalweg.tensor import Tensor

Number = int | float | bool
_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
_dtype, _device, _layout = thalweg.dtype, thalweg.device, thalweg.layout
_size = Size | list[int] | tuple[int, ...]
_symsize = SymInt = IntLikeType = PySymType = Any
FloatLikeType = BoolLikeType = Any
_dispatchkey = Any
Device = Any
FileLike = Any
Storage = Any
_TensorOrTensors = _TensorOrOptionalTensors = Tensor | Sequence[Tensor]

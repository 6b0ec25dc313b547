"""Named tuples for functions with several results, as ``torch.return_types`` has them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

_FIELDS = {
    "max": "values indices", "min": "values indices", "sort": "values indices",
    "topk": "values indices", "kthvalue": "values indices", "mode": "values indices",
    "median": "values indices", "nanmedian": "values indices", "cummax": "values indices",
    "cummin": "values indices", "aminmax": "min max", "frexp": "mantissa exponent",
    "linalg.qr": "Q R", "linalg.svd": "U S Vh", "linalg.eigh": "eigenvalues eigenvectors",
    "linalg.slogdet": "sign logabsdet", "linalg.eig": "eigenvalues eigenvectors",
    "linalg.lu": "P L U", "linalg.lu_factor": "LU pivots", "linalg.cholesky_ex": "L info",
    "linalg.inv_ex": "inverse info", "linalg.solve_ex": "result info", "svd": "U S V",
    "histogram": "hist bin_edges", "histogramdd": "hist bin_edges", "geqrf": "a tau",
    "linalg.ldl_factor": "LD pivots", "linalg.ldl_factor_ex": "LD pivots info",
    "linalg.lu_factor_ex": "LU pivots info", "lu_unpack": "P L U",
    "triangular_solve": "solution cloned_coefficient",
    "qr": "Q R", "linalg.lstsq": "solution residuals rank singular_values",
}  # fmt: skip


def _shown(self: Any) -> str:
    parts = (f"{name}={value!r}" for name, value in zip(self._fields, self))
    return f"thalweg.return_types.{type(self).__name__}(\n" + ",\n".join(parts) + ")"


def _type(function: str, fields: str) -> Any:
    name = function.replace(".", "_")
    base: Any = namedtuple(name, fields)  # type: ignore[misc]
    return type(name, (base,), {"__slots__": (), "__repr__": _shown})


_types: dict[str, Any] = {}  # those that were needed so far


def name_results(
    function: str, results: Any, wrap: Callable[[Any], Any] = lambda value: value
) -> Any:
    """Several results as the function's named tuple, or a plain tuple if it has none."""
    if not isinstance(results, (tuple, list)):
        return wrap(results)
    wrapped = [wrap(r) for r in results]
    kind = _types.get(function)
    if kind is None and function in _FIELDS:
        kind = _types.setdefault(function, _type(function, _FIELDS[function]))
    if kind is not None and len(kind._fields) == len(wrapped):
        return kind(*wrapped)
    return tuple(wrapped)

"""Functions that are computed by NumPy at once rather than recorded.

Either the shape of their result depends on values (`nonzero`, `unique`), or they are algorithms
of the host (decompositions, histograms, interpolation). They read their operands, which runs what
is recorded, and their results start new graphs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import located
from .array import from_host, to_host

FUNCTIONS = (
    "nonzero", "flatnonzero", "argwhere", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "extract", "compress", "delete", "insert", "setdiff1d",
    "intersect1d", "union1d", "setxor1d", "isin", "trim_zeros", "bincount", "histogram",
    "histogram2d", "histogramdd", "histogram_bin_edges", "digitize", "interp", "convolve",
    "correlate", "gradient", "trapezoid", "median", "percentile", "quantile", "nanmedian",
    "nanpercentile", "nanquantile", "nanstd", "nanvar", "cov", "corrcoef", "polyfit", "polyval",
    "lexsort", "partition", "argpartition", "unravel_index", "ravel_multi_index", "indices",
    "tril_indices", "triu_indices", "diag_indices", "vander", "ediff1d", "select", "choose",
    "piecewise", "apply_along_axis", "i0", "hanning", "hamming", "blackman", "bartlett", "kaiser",
)  # fmt: skip

LINALG = (
    "cholesky", "cond", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq",
    "matrix_power", "matrix_rank", "pinv", "qr", "slogdet", "solve", "svd", "svdvals",
    "tensorinv", "tensorsolve",
)  # fmt: skip


def hosted(plain: Any) -> Callable[..., Any]:
    """NumPy's function on our arrays: values in, new arrays out."""

    @functools.wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            made = plain(*map(to_host, args), **to_host(kwargs))
        except Exception as error:
            raise located(error) from None
        return from_host(made)

    return call


def namespace(module: Any, names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    """The hosted forms of functions of a NumPy module (those this version of NumPy has)."""
    return {name: hosted(getattr(module, name)) for name in names if hasattr(module, name)}


globals().update(namespace(np, FUNCTIONS))

__all__ = [*namespace(np, FUNCTIONS)]

"""`numpy.random`: NumPy's own generators, so a seed gives the same numbers as with NumPy.

The module's functions share NumPy's global state with `numpy.random` itself. Numbers are drawn
when a function is called; the arrays of them are inputs of the recorded graph.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .array import from_host, ndarray, to_host
from .host import namespace

FUNCTIONS = (
    "seed", "get_state", "set_state", "rand", "randn", "randint", "random", "random_sample",
    "ranf", "sample", "bytes", "choice", "permutation", "beta", "binomial", "chisquare",
    "dirichlet", "exponential", "f", "gamma", "geometric", "gumbel", "hypergeometric", "laplace",
    "logistic", "lognormal", "logseries", "multinomial", "multivariate_normal",
    "negative_binomial", "noncentral_chisquare", "noncentral_f", "normal", "pareto", "poisson",
    "power", "rayleigh", "standard_cauchy", "standard_exponential", "standard_gamma",
    "standard_normal", "standard_t", "triangular", "uniform", "vonmises", "wald", "weibull",
    "zipf",
)  # fmt: skip

globals().update(namespace(np.random, FUNCTIONS))
BitGenerator, MT19937, PCG64, PCG64DXSM, Philox, SFC64, SeedSequence = (
    np.random.BitGenerator, np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM,
    np.random.Philox, np.random.SFC64, np.random.SeedSequence,
)  # fmt: skip


def _shuffle(plain: Any, x: Any, **options: Any) -> None:
    """Shuffle arrays and lists in place."""
    if isinstance(x, ndarray):
        values = np.array(x._value())
        plain(values, **options)
        x[...] = values
    else:
        plain(x, **options)


def shuffle(x: Any) -> None:
    """Reorder ``x`` in place along its first dimension."""
    _shuffle(np.random.shuffle, x)


class _Drawing:
    """A NumPy generator whose draws are arrays of this package."""

    _plain: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._plain, name)
        if not callable(found):
            return found

        def draw(*args: Any, **kwargs: Any) -> Any:
            return from_host(found(*map(to_host, args), **to_host(kwargs)))

        draw.__name__ = name
        draw.__doc__ = found.__doc__
        return draw

    def shuffle(self, x: Any, **options: Any) -> None:
        """Reorder ``x`` in place (along ``axis``)."""
        _shuffle(self._plain.shuffle, x, **options)

    def __repr__(self) -> str:
        return repr(self._plain)


class Generator(_Drawing):
    """`numpy.random.Generator`, drawing the same numbers."""

    def __init__(self, bit_generator: Any) -> None:
        self._plain = np.random.Generator(bit_generator)


class RandomState(_Drawing):
    """`numpy.random.RandomState`, drawing the same numbers."""

    def __init__(self, seed: Any = None) -> None:
        self._plain = np.random.RandomState(to_host(seed))


def default_rng(seed: Any = None) -> Generator:
    """A generator over PCG64, seeded as NumPy seeds it."""
    if isinstance(seed, Generator):
        return seed
    return Generator(np.random.default_rng(to_host(seed)).bit_generator)


__all__ = [*namespace(np.random, FUNCTIONS), "MT19937", "PCG64", "PCG64DXSM", "BitGenerator",
           "Generator", "Philox", "RandomState", "SFC64", "SeedSequence", "default_rng",
           "shuffle"]  # fmt: skip

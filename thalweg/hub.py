"""`torch.hub` without a network: files that are in the cache folder are loaded, none is fetched."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlparse

from .serialization import load as _load

_directory: str | None = None


def _get_torch_home() -> str:
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder of downloaded files."""
    return _directory or os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Use another folder."""
    global _directory
    _directory = os.path.expanduser(os.fspath(d))


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True,
    check_hash: bool = False, file_name: str | None = None, weights_only: bool = False,
) -> Any:  # fmt: skip
    """The state dict that an earlier download left in the cache folder.

    RuntimeError that names the file to put there if it is not there: nothing is fetched.
    """
    folder = model_dir or os.path.join(get_dir(), "checkpoints")
    path = os.path.join(folder, file_name or os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        raise RuntimeError(f"thalweg does not download files: put {url} at {path}")
    return _load(path, map_location)


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError(f"hub.{name}: thalweg downloads and runs no code of others")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "RuntimeError: nothing is downloaded."
    return refuse


load, list, help = _refuse("load"), _refuse("list"), _refuse("help")
download_url_to_file = _refuse("download_url_to_file")

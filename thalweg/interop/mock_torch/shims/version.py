"""`torch.version`: of what build torch is. There is no compiler and no accelerator behind it."""

from .torch_version import __version__

cuda = hip = xpu = rocm = None
debug = False
git_version = "thalweg"

"""`torch.signal`: window functions, in `thalweg.signal.windows`."""

from . import windows as windows

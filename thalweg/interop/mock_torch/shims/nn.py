"""`torch.nn`: what thalweg keeps in a package of its own."""

from thalweg.nn.parallel import DataParallel

__all__ = ["DataParallel"]

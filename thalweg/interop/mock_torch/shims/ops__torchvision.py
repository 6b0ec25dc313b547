"""`torch.ops.torchvision`: operators of torchvision's compiled part, which cannot be loaded."""


def _cuda_version() -> int:
    """The CUDA that they were built for: none."""
    return -1

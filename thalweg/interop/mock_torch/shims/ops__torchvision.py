"""`torch.ops.torchvision`: operators of torchvision's compiled part, none of which can be loaded."""


def _cuda_version() -> int:
    """The CUDA that they were built for: none."""
    return -1

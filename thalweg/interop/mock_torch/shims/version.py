"""`torch.version`: of what build torch is. There is no compiler and no accelerator behind it."""

cuda = hip = xpu = rocm = None
debug = False
git_version = "thalweg"

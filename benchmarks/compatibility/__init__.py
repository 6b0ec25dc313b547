"""Models that others wrote, unmodified, under PyTorch and under thalweg: do the numbers agree?

    scripts/compatibility                      all models; writes docs/compatibility.md
    scripts/compatibility timm/resnet18 vae    those whose names contain a word; prints only

Each model is built twice, in processes of their own: by PyTorch, in float32 and in float64, and by
thalweg served as ``torch``. Weights and inputs are the same. Forward results, loss, gradients,
three optimizer steps and a state dict through a file are compared. No code of others is kept here:
packages are imported from where they are installed, repositories from a folder of checkouts
(``--repositories``), and what is not there is reported as not tried.
"""

"""PyTorch style: compute, then ask for gradients.

Runs under PyTorch with `import torch` and `from torch.autograd import Variable`.
"""

import numpy as np

import thalweg as torch
from thalweg.autograd import Variable

np.random.seed(0)
N, D = 3, 4

x = Variable(torch.from_numpy(np.random.randn(N, D).astype(np.float32)), requires_grad=True)
y = Variable(torch.from_numpy(np.random.randn(N, D).astype(np.float32)), requires_grad=True)
z = Variable(torch.from_numpy(np.random.randn(N, D).astype(np.float32)), requires_grad=True)

a = x * y
b = a + z
c = torch.sum(b)

c.backward()

if __name__ == "__main__":
    print(c, x.grad.data, y.grad.data, z.grad.data, sep="\n")

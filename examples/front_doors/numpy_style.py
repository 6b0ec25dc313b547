"""NumPy style: arrays, and gradients written by hand.

Runs under NumPy with `import numpy as np`.
"""

import thalweg.numpy as np

np.random.seed(0)
N, D = 3, 4

x = np.random.randn(N, D).astype(np.float32)
y = np.random.randn(N, D).astype(np.float32)
z = np.random.randn(N, D).astype(np.float32)

a = x * y
b = a + z
c = np.sum(b)

grad_c = 1.0
grad_b = grad_c * np.ones((N, D), np.float32)
grad_a = grad_b.copy()
grad_z = grad_b.copy()
grad_x = grad_a * y
grad_y = grad_a * x

if __name__ == "__main__":
    print(c, grad_x, grad_y, grad_z, sep="\n")

"""From a graph of kernels to a native program: steps, memory, records."""

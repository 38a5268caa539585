"""Found by Python at its start where this folder is on its path: gives PyTorch the GPU."""

import simulated_gpu  # noqa: F401

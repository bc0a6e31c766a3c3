"""What all tests share: one thread a process (xdist runs several), and Triton interpreted where there is no GPU."""

import os

import torch

torch.set_num_threads(1)
if not torch.cuda.is_available():
    # Read when a Triton function is defined, so before any test imports one.
    os.environ["TRITON_INTERPRET"] = "1"

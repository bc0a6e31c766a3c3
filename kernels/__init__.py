"""The operators: one folder each, with the mathematics as a readable reference, in C++ for CPUs and in Triton for GPUs.

Every folder holds `__init__.py` (the documented public function: checks, then a visible choice of implementation),
`reference.py` (reads like the paper, any dtype, differentiated by autograd), `cpu.cpp` and `cpu.py` (C++17, forward and
backward, all cores), and `cases.py` (named inputs shared by tests and benchmarks). A Triton `gpu.py` goes beside them.
"""

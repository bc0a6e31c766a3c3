"""Shape checks by name: a dimension that occurs twice must agree, and the error says which argument broke it."""

from __future__ import annotations

from torch import Tensor


def check_shapes(**arguments: tuple[Tensor, str]) -> dict[str, int]:
    """Check tensors against patterns such as `means=(means, "N 3")`; returns the sizes found for the names.

    A pattern is space-separated: a number must match exactly, a name must agree wherever it occurs.
    Raises ValueError naming the argument, the pattern and the shape given;
    floating tensors must share dtype and device.
    """
    sizes: dict[str, int] = {}
    origin: dict[str, str] = {}
    first: tuple[str, Tensor] | None = None
    for name, (tensor, pattern) in arguments.items():
        dims = pattern.split()
        given = tuple(tensor.shape)
        if len(given) != len(dims):
            raise ValueError(f"{name}: expected shape [{pattern}], got {list(given)}")
        for dim, size in zip(dims, given, strict=True):
            if dim.isdigit():
                if size != int(dim):
                    raise ValueError(f"{name}: expected shape [{pattern}], got {list(given)}")
            elif sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"{name}: expected shape [{pattern}] with {dim}={sizes[dim]} as in {origin[dim]}, got {list(given)}"
                )
            else:
                origin.setdefault(dim, name)
        if tensor.is_floating_point():
            if first is None:
                first = (name, tensor)
            elif tensor.dtype != first[1].dtype or tensor.device != first[1].device:
                raise ValueError(
                    f"{name}: {tensor.dtype} on {tensor.device} does not go with {first[0]}: "
                    f"{first[1].dtype} on {first[1].device}"
                )
    return sizes

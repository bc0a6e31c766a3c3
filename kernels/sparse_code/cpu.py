"""The C++ sparse codes and similarities as autograd functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.native import NativeLibrary
from kernels.sparse_code.products import empty_like_codes, product_gradients, products_of

LIBRARY = NativeLibrary(Path(__file__).with_name("cpu.cpp"))


class _SparseCode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, indices: Tensor, values: Tensor, dictionary: Tensor) -> Tensor:
        indices = indices.to(torch.int32).contiguous()
        values, dictionary = values.contiguous(), dictionary.contiguous()
        out = torch.empty(len(values), dictionary.shape[1])
        outside = LIBRARY.call(
            "sparse_code_forward", indices, values, dictionary, *values.shape, *dictionary.shape, out
        )
        if outside:
            raise IndexError(f"indices: {outside} of {indices.numel()} lie outside [0, {len(dictionary)})")
        ctx.save_for_backward(indices, values, dictionary)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        indices, values, dictionary = ctx.saved_tensors
        g_values = torch.empty_like(values)
        g_dictionary = torch.empty_like(dictionary) if ctx.needs_input_grad[2] else None
        LIBRARY.call(
            "sparse_code_backward", indices, values, dictionary, gradients[0].contiguous(),
            *values.shape, *dictionary.shape, g_values, g_dictionary,
        )  # fmt: skip
        return None, g_values, g_dictionary


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, gram: Tensor, products: Tensor) -> Tensor:
        codes, gram, products = codes.contiguous(), gram.contiguous(), products.contiguous()
        cosines, inverse = empty_like_codes(codes, products.shape[1])
        LIBRARY.call("similarity_forward", codes, gram, products, *codes.shape, products.shape[1], cosines, inverse)
        ctx.save_for_backward(codes, gram, products, cosines, inverse)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        codes, gram, products, cosines, inverse = ctx.saved_tensors
        g, g_codes, g_products = gradients[0].contiguous(), None, (None, None)
        if ctx.needs_input_grad[0]:
            g_codes = torch.empty_like(codes)
            LIBRARY.call(
                "similarity_backward", codes, gram, products.T.contiguous(), cosines, inverse, g,
                *codes.shape, products.shape[1], g_codes,
            )  # fmt: skip
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            g_products = product_gradients(codes, inverse, cosines, g)
        return g_codes, *g_products


def sparse_code(indices: Tensor, values: Tensor, dictionary: Tensor) -> Tensor:
    """See `kernels.sparse_code.sparse_code`."""
    return _SparseCode.apply(indices, values, dictionary)  # type: ignore[return-value]


def similarity(codes: Tensor, dictionary: Tensor, queries: Tensor) -> Tensor:
    """See `kernels.sparse_code.similarity`."""
    return _Similarity.apply(codes, *products_of(dictionary, queries))  # type: ignore[return-value]

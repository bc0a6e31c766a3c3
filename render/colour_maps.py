"""Scalars as colours: maps by name, each a short list of sRGB colours between which values are interpolated."""

from __future__ import annotations

import numpy as np

# Eleven colours each, at 0, 0.1, ..., 1; viridis and turbo follow the well-known maps to within a few levels.
COLOURS: dict[str, list[tuple[int, int, int]]] = {
    "grey": [(v, v, v) for v in (0, 26, 51, 77, 102, 128, 153, 179, 204, 230, 255)],
    "viridis": [
        (68, 1, 84),
        (72, 36, 117),
        (65, 68, 135),
        (53, 95, 141),
        (42, 120, 142),
        (33, 145, 140),
        (34, 168, 132),
        (68, 191, 112),
        (122, 209, 81),
        (189, 223, 38),
        (253, 231, 37),
    ],
    "turbo": [
        (48, 18, 59),
        (68, 88, 203),
        (62, 155, 254),
        (24, 214, 203),
        (70, 248, 132),
        (162, 252, 60),
        (225, 221, 55),
        (254, 161, 48),
        (239, 89, 17),
        (194, 36, 3),
        (122, 4, 3),
    ],
    "signed": [
        (33, 60, 143),
        (55, 101, 184),
        (98, 146, 212),
        (153, 190, 231),
        (208, 225, 242),
        (245, 245, 245),
        (248, 216, 200),
        (238, 169, 144),
        (219, 116, 94),
        (188, 63, 58),
        (140, 20, 36),
    ],
}


def coloured(values: np.ndarray, name: str) -> np.ndarray:
    """[..., 3] uint8 of values [...] in [0, 1] (others are clamped); `name` is a key of COLOURS."""
    table = np.array(COLOURS[name], dtype=np.float32)
    fine = np.linspace(0, 10, 256)
    lower = np.minimum(fine.astype(int), 9)
    shares = (fine - lower)[:, None]
    bytes_of = np.rint(table[lower] * (1 - shares) + table[lower + 1] * shares).astype(np.uint8)
    return bytes_of[(np.clip(np.nan_to_num(values), 0, 1) * 255 + 0.5).astype(np.uint8)]

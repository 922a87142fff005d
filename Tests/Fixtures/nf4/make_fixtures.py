#!/usr/bin/env python3
"""Makes nf4.safetensors: a weight and what bitsandbytes makes of it.

    python3 -m venv nf4-venv
    nf4-venv/bin/pip install "torch==2.13.0" bitsandbytes==0.50.2 safetensors==0.8.0 numpy==2.4.6
    nf4-venv/bin/python make_fixtures.py [OUT]             # OUT: this folder unless given

(PyTorch's CPU build is enough.) Each run with these versions gives the same bytes.

Codes come from bitsandbytes' portable kernels, which take the nearest value and at a midpoint the lower one, as its CUDA
kernels do. Its CPU kernel for 8-bit codes is passed over: it looks values up in a coarser table first, and for about one scale in
a thousand takes the second nearest.
"""
import sys
from pathlib import Path

import bitsandbytes.functional as bnb
import numpy as np
import torch
from safetensors.torch import save_file

ROWS, COLUMNS = 236, 71  # odd rows: blocks of 64 straddle them, and every second row begins within a byte

PORTABLE = torch._C.DispatchKey.CompositeExplicitAutograd


def main(out):
    table = bnb.get_4bit_type("nf4", device="cpu")
    generator = torch.Generator().manual_seed(4)
    flat = torch.randn(ROWS * COLUMNS, generator=generator) * 0.02
    flat *= torch.exp(torch.randn(ROWS * COLUMNS // 64 + 1, generator=generator) * 0.3).repeat_interleave(64)[: flat.numel()]
    flat[64:128] = 0  # a block of nothing
    flat[192:256] = 0
    flat[192] = -0.5  # a block of one
    middle = (table[:-1] + table[1:]) / 2  # a block of ties and their neighbours, at scale 1
    infinity = torch.full_like(middle, float("inf"))
    ties = torch.cat([table, middle, torch.nextafter(middle, infinity), torch.nextafter(middle, -infinity)])
    flat[320 : 320 + ties.numel()] = ties
    weight = flat.reshape(ROWS, COLUMNS)

    packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=False)
    offset = state.absmax.mean()
    map8 = bnb.create_dynamic_map()
    quantize8 = torch.ops.bitsandbytes.quantize_blockwise.default._op_dk
    codes, second = quantize8(PORTABLE, state.absmax - offset, map8, 256)
    scales = bnb.dequantize_blockwise(codes, absmax=second, code=map8, blocksize=256) + offset
    dequantized = torch.ops.bitsandbytes.dequantize_4bit.default(packed, scales, 64, "nf4", weight.shape, torch.float32)
    # The portable kernel divides in the last block and multiplies by the inverse in the others; here that makes no difference.
    tail = flat[flat.numel() // 64 * 64 :]
    again = torch.bucketize(tail * (1 / tail.abs().max()), middle)
    assert torch.equal(again, torch.bucketize(tail / tail.abs().max(), middle))
    last = (state.absmax - offset)[256:]
    middle8 = (map8[:-1] + map8[1:]) / 2
    assert torch.equal(torch.bucketize(last * (1 / last.abs().max()), middle8).to(torch.uint8), codes[256:])

    save_file(
        {
            "weight": weight, "table": table, "map": map8, "packed": packed.reshape(-1), "absmax": state.absmax,
            "scale_codes": codes, "second_absmax": second, "offset": offset.reshape(1), "dequantized": dequantized,
        },
        Path(out) / "nf4.safetensors",
    )
    error = (dequantized - weight).norm() / weight.norm()
    print(f"{weight.numel()} weights, {codes.numel()} scales, relative error {error:.4f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)

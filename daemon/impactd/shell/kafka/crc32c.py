"""CRC-32C (Castagnoli), the checksum of Kafka's record batches, by the processor's own instruction.

aiokafka's compiled one takes a table, which takes five times as long and keeps the GIL. It stays in use where the
processor has no such instruction. RFC 3720, appendix B.4, has test vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from aiokafka.record.util import calc_crc32c
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from impactd.core.base.jit import uncounted_kernel

_Bytes = npt.NDArray[np.uint8]


def _has_instruction() -> bool:
    """Return whether this is an x86-64 processor with the instruction; other kinds are left to aiokafka."""
    try:
        return "x86_64" in binding.get_process_triple() and bool(binding.get_host_cpu_features().get("sse4.2"))
    except RuntimeError:  # LLVM does not know this processor
        return False


HAS_INSTRUCTION: Final = _has_instruction()

_ONES: Final = np.uint64(0xFFFF_FFFF)
_8: Final = np.uint64(8)


def _instruction(name: str, crc_bits: int, bits: int) -> Callable[..., Any]:
    """Return x86-64's instruction that takes a checksum, and data of so many bits, to the next checksum."""
    of_crc, of_data = getattr(types, f"uint{crc_bits}"), getattr(types, f"uint{bits}")

    @intrinsic
    def step(_context: Any, crc: Any, data: Any) -> Any:
        del crc, data

        def generate(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
            of = ir.FunctionType(ir.IntType(crc_bits), [ir.IntType(crc_bits), ir.IntType(bits)])
            return builder.call(builder.module.declare_intrinsic(name, (), of), args)

        return of_crc(of_crc, of_data), generate

    return step


_step_8 = _instruction("llvm.x86.sse42.crc32.64.64", 64, 64)
_step_1 = _instruction("llvm.x86.sse42.crc32.32.8", 32, 8)


@uncounted_kernel
def _checksum(buf: _Bytes, start: int, stop: int) -> int:
    at, end = np.uint64(start), np.uint64(stop)
    crc = _ONES
    while at + _8 <= end:
        word = np.uint64(0)
        # One load of eight bytes, once it is compiled.
        for k in range(8):
            word |= np.uint64(buf[at + np.uint64(k)]) << np.uint64(8 * k)
        crc = _step_8(crc, word)
        at += _8
    rest = np.uint32(crc)
    while at < end:
        rest = _step_1(rest, buf[at])
        at += np.uint64(1)
    return int(rest ^ np.uint32(_ONES))


def crc32c(data: bytes, start: int, stop: int) -> int:
    """Return the checksum of ``data[start:stop]``."""
    if HAS_INSTRUCTION:
        return _checksum(np.frombuffer(data, np.uint8), start, stop)
    return int(calc_crc32c(memoryview(data)[start:stop]))

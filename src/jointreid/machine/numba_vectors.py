"""Vectors of neighbouring numbers in compiled loops: values that stay in SIMD registers.

LLVM turns plain loops into SIMD code too, but it chooses itself what stays in registers and how wide they are, and it
first compares the addresses of all arrays, which takes as long as a short loop. A loop over vectors leaves no choice.

A pointer says where numbers begin; places count numbers from there. Unlike slices of arrays, pointers have no count of
references to keep, so the array must outlive them. Nothing is checked.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

from jointreid.machine.numba_kernel import inlined

_FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(",")

REGISTER_BYTES = 64 if "+avx512f" in _FEATURES else 32
LINE_BYTES = 64  # what the cache loads at once; also a vector of this size may be split between registers


class Vector(types.Type):
    """The type of `lanes` numbers of one dtype."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(f"Vector({dtype}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        number = manager.lookup(vector.dtype).get_value_type()
        super().__init__(manager, vector, ir.VectorType(number, vector.lanes))


def _operation(plain: Callable[..., Any], literals: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Make an intrinsic of numba. `plain` does the same to NumPy's arrays where compiling is switched off."""

    def decorate(build: Callable[..., Any]) -> Any:
        return plain if numba.config.DISABLE_JIT else intrinsic(prefer_literal=literals)(build)  # type: ignore[attr-defined]

    return decorate


def _function(builder: Any, name: str, vector: Any, result: Any, *inputs: Any) -> Any:
    """The function of LLVM with that name for such vectors."""
    bits = 32 if isinstance(vector.element, ir.FloatType) else 64
    kind = ir.FunctionType(result, inputs)
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{vector.count}f{bits}")


def _address(builder: Any, begin: Any, place: Any, vector: Any) -> Any:
    return builder.bitcast(builder.gep(begin, [place]), vector.as_pointer())


# Places in memory


@_operation(lambda array, row: array[row:].reshape(-1))
def pointer(typing: Any, array: Any, row: Any) -> Any:
    """Where array[row] begins, of a contiguous array."""
    if array.layout != "C":
        raise TypeError(f"{array} is not contiguous")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = make_array(signature.args[0])(context, builder, args[0])
        place = args[1]
        for size in cgutils.unpack_tuple(builder, view.shape, array.ndim)[1:]:
            place = builder.mul(place, size)
        return builder.gep(view.data, [place])

    return types.CPointer(array.dtype)(array, types.intp), generate


@_operation(lambda begin, places: begin[places:])
def move(typing: Any, begin: Any, places: Any) -> Any:
    """The pointer that is so many numbers further."""
    return begin(begin, types.intp), lambda context, builder, signature, args: builder.gep(args[0], [args[1]])


# Between memory and registers


@_operation(lambda array, size: np.zeros(max(1, size // array.itemsize), array.dtype), literals=True)
def zeros(typing: Any, array: Any, size: Any) -> Any:
    """A vector of zeros of the dtype of `array` that takes `size` bytes, or of one lane where that is fewer."""
    vector = Vector(array.dtype, max(1, size.literal_value * 8 // array.dtype.bitwidth))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return ir.Constant(context.get_value_type(vector), None)

    return vector(array, size), generate


@_operation(lambda begin, place, like: begin[place : place + like.size].copy())
def load(typing: Any, begin: Any, place: Any, like: Any) -> Any:
    """The numbers from a place on, as many as `like` has."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = _address(builder, args[0], args[1], context.get_value_type(like))
        return builder.load(where, align=begin.dtype.bitwidth // 8)

    return like(begin, types.intp, like), generate


@_operation(lambda begin, place, like: np.full_like(like, begin[place]))
def spread(typing: Any, begin: Any, place: Any, like: Any) -> Any:
    """The number at a place as often as `like` has lanes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, number = context.get_value_type(like), builder.load(builder.gep(args[0], [args[1]]))
        nothing, index = ir.Constant(vector, ir.Undefined), ir.IntType(32)
        first = builder.insert_element(nothing, number, index(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(index, vector.count), None))

    return like(begin, types.intp, like), generate


def _store(vector: Any, begin: Any, place: int) -> None:
    begin[place : place + vector.size] = vector


@_operation(_store)
def store(typing: Any, vector: Any, begin: Any, place: Any) -> Any:
    """Write the vector from a place on."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where = _address(builder, args[1], args[2], args[0].type)
        builder.store(args[0], where, align=begin.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(vector, begin, types.intp), generate


# Between memory and the cache


def _fetching(write: bool) -> Callable[..., Any]:
    def build(typing: Any, begin: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            number = ir.IntType(32)
            where = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [where.type, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [where, number(int(write)), number(_SECOND_LEVEL), number(_DATA)])
            return context.get_dummy_value()

        return types.void(begin, types.intp), generate

    return build


_SECOND_LEVEL, _DATA = 2, 1  # LLVM's numbers
_fetch_to_read = _operation(lambda begin, place: None)(_fetching(write=False))
_fetch_to_write = _operation(lambda begin, place: None)(_fetching(write=True))


@inlined
def read_ahead(begin: Any, place: int, count: int, step: int) -> None:
    """Start to bring `count` numbers into the cache, which will be read; a line of it holds `step`.

    Memory that is used in another order than it lies there is otherwise loaded late. Places outside it do no harm.
    """
    for k in range(0, count, step):
        _fetch_to_read(begin, place + k)


@inlined
def write_ahead(begin: Any, place: int, count: int, step: int) -> None:
    """`read_ahead` for numbers that will be written."""
    for k in range(0, count, step):
        _fetch_to_write(begin, place + k)


# Arithmetic


@_operation(np.add)
def plus(typing: Any, a: Any, b: Any) -> Any:
    """The sum a + b."""
    return a(a, b), lambda context, builder, signature, args: builder.fadd(*args)


@_operation(np.multiply)
def times(typing: Any, a: Any, b: Any) -> Any:
    """The product a * b."""
    return a(a, b), lambda context, builder, signature, args: builder.fmul(*args)


@_operation(lambda a, b, c: a * b + c)
def fused(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """The sum a * b + c, rounded once where the processor can do that in one step."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = args[0].type
        return builder.call(_function(builder, "fmuladd", vector, vector, *[vector] * 3), args)

    return a(a, b, c), generate


@_operation(np.sum)
def total(typing: Any, vector: Any) -> Any:
    """The sum of the lanes, always in the same order."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        function = _function(builder, "vector.reduce.fadd", kind, kind.element, kind.element, kind)
        return builder.call(function, [ir.Constant(kind.element, 0.0), *args], fastmath=("reassoc", "nsz"))

    return vector.dtype(vector), generate

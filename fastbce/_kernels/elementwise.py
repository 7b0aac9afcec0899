"""Every compiled function: scalar ``*_point`` functions, then the loops over 1-D arrays.

How to read this file: a *point* function is the mathematics of one element; a *block* loop applies
it to whole arrays; a *run* calls block loops piece by piece, where something is summed or results
go past the caches; a *team* function shares a run among threads. Outputs and options that are
absent are passed as ``None``, and Numba prunes their branches when it compiles, so one loop serves
a whole family. A result that is to be written over the first input is passed as ``True``: a loop
that gets one array twice cannot know that and falls back to single elements.

What keeps the loops packed (tests read the assembly): ``error_model="numpy"``, or each division's
test for zero keeps a loop scalar (36 ms against 3.2 ms for 10^7 elements); no libm call; constants
of the element's own type; ``range(x.size)`` without a start. What keeps the bits the same at every
position, length and vector width: each multiply-add that is fused is written so, there is no
fastmath, and sums run in ``LANES`` fixed lanes instead of the vector unit's.

Constants marked * come from ``tools/coefficients.py``, which prints them with their errors.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic, overload

from fastbce._engine.team import APART, cut, sharing

from .compile import OPTIONS
from .compile import kernel as block
from .results import fence, nearby, settle

# Running sums kept side by side, 2-4 KiB: twice as many leave the first-level cache too little
# room for the streams (float64 logits loss and gradient: 1.17 ns an element against 1.09).
LANES = 512
TERMS = 32  # terms of each lane between two logarithms of the lanes' products
STRIP = TERMS * LANES
# Elements of a result on their way past the caches (see results): many at a time keep the loads
# waiting, a few cost more instructions. Losses, gradients and Hessians of 2 x 10^7 float64 on two
# threads: 12.4 ms with 128, 12.8 with 256, 14.0 with 512, their arithmetic 11.0, 9.0 and 8.3.
SPACE = 256
PRODUCT_EPS = 1e-9  # that many factors of at least this do not underflow float64
PEEK = 64  # labels looked at before a strip is taken to be hard

point = njit(**OPTIONS)


def fma(a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` rounded once; this is the definition, compiled it is an instruction."""
    if not np.isfinite(a * b + c):
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return type(c)(float(exact))


@intrinsic
def _fma_instruction(typing_context, a, b, c):
    return a(a, a, a), lambda context, builder, signature, args: builder.fma(*args)


@overload(fma)
def _fma_overload(a, b, c):
    return lambda a, b, c: _fma_instruction(a, b, c)


@point
def like(x: Any, value: Any) -> Any:
    """Return `value` in the type of `x`: a Python constant would widen float32 to float64."""
    if isinstance(x, np.float32):
        return np.float32(value)
    else:
        return np.float64(value)


# --- exp(t) for t <= 0 ----------------------------------------------------------------------
# t = n ln 2 + r with |r| <= ln 2 / 2, exp(t) = 2^n (1 + r + r^2 q(r)). Adding MAGIC rounds n to
# the low mantissa bits, biased so that shifting them to the exponent gives 2^n times 2^64 (2^600):
# n itself may lie below the normal exponents, and multiplying by UNBIAS reaches the subnormal 2^n.
# (2^-150 is rounded to 0, and so then is the result: 0.71 units of the least subnormal at most.)
# ln 2 is split in two so that n * LN2_HI is exact. The polynomials are in Estrin's form, with fewer
# steps to wait for than Horner's: the sigmoid takes a fifth less time in cache.

LOG2E_32 = np.float32(1.4426950408889634)
MAGIC_32 = np.float32(1.5 * 2**23 + 127 + 64)
UNBIAS_32 = np.float32(2.0**-64)
LN2_HI_32 = np.float32(0.693145751953125)
LN2_LO_32 = np.float32(1.42860682030941723212e-6)
LOWEST_32 = np.float32(-105.0)  # below -103.98 float32 has only 0
ONE_32 = np.float32(1.0)
HALF_32 = np.float32(0.5)
# * relative error of the exponential 2^-28.0
E0_32 = np.float32(0.4999999403953552)
E1_32 = np.float32(0.1666652113199234)
E2_32 = np.float32(0.04166838899254799)
E3_32 = np.float32(0.008368716575205326)
E4_32 = np.float32(0.0013814602280035615)


@point
def _exp_32(t: Any) -> Any:
    t = LOWEST_32 if t < LOWEST_32 else t
    shifted = fma(t, LOG2E_32, MAGIC_32)
    n = shifted - MAGIC_32
    r = fma(-n, LN2_LO_32, fma(-n, LN2_HI_32, t))
    square = r * r
    q = fma(square, fma(square, E4_32, fma(r, E3_32, E2_32)), fma(r, E1_32, E0_32))
    tail = fma(square, q, r)
    power = np.int32(np.float32(shifted).view(np.int32) << 23).view(np.float32) * UNBIAS_32
    e = fma(power, tail, power)
    return e, fma(power, tail, power - e)


LOG2E_64 = 1.4426950408889634
MAGIC_64 = 1.5 * 2**52 + 1023 + 600
UNBIAS_64 = 2.0**-600
LN2_HI_64 = 6.93147180369123816490e-01
LN2_LO_64 = 1.90821492927058770002e-10
LOWEST_64 = -746.0  # below -745.14 float64 has only 0
# * relative error of the exponential 2^-56.4
E0_64 = 0.5000000000000011
E1_64 = 0.16666666666666413
E2_64 = 0.04166666666653016
E3_64 = 0.008333333333494466
E4_64 = 0.0013888888943630066
E5_64 = 0.0001984126950656752
E6_64 = 2.4801493098892466e-05
E7_64 = 2.7557586383479146e-06
E8_64 = 2.7630248395818195e-07
E9_64 = 2.5000058613823383e-08


@point
def _exp_64(t: Any) -> Any:
    t = LOWEST_64 if t < LOWEST_64 else t
    shifted = fma(t, LOG2E_64, MAGIC_64)
    n = shifted - MAGIC_64
    r = fma(-n, LN2_LO_64, fma(-n, LN2_HI_64, t))
    square = r * r
    q8 = fma(r, E9_64, E8_64)
    q6 = fma(square, q8, fma(r, E7_64, E6_64))
    q4 = fma(square, q6, fma(r, E5_64, E4_64))
    q2 = fma(square, q4, fma(r, E3_64, E2_64))
    tail = fma(square, fma(square, q2, fma(r, E1_64, E0_64)), r)
    power = np.int64(np.float64(shifted).view(np.int64) << 52).view(np.float64) * UNBIAS_64
    e = fma(power, tail, power)
    return e, fma(power, tail, power - e)


@point
def exp_point(t: Any) -> Any:
    """Return exp(t), t <= 0, as a rounded value and the rounding error."""
    if isinstance(t, np.float32):
        return _exp_32(t)
    else:
        return _exp_64(t)


# --- log(h + l) for normal h > 0 and |l| <= ulp(h) / 2 -----------------------------------------
# h = 2^k m with m in [sqrt(1/2), sqrt(2)); f = m - 1 + l 2^-k, so that log(1 - c) for a small c,
# passed as h = 1 - c and l = its rounding error, starts from f = -c exactly. A NaN must come in l.

SQRT_HALF_BITS_32 = np.int32(0x3F3504F3)
MANTISSA_32 = np.int32(0x7FFFFF)
# * relative error of the logarithm 2^-27.0
L0_32 = np.float32(0.3333333134651184)
L1_32 = np.float32(-0.250008225440979)
L2_32 = np.float32(0.20001228153705597)
L3_32 = np.float32(-0.1662333756685257)
L4_32 = np.float32(0.14201699197292328)
L5_32 = np.float32(-0.13160340487957)
L6_32 = np.float32(0.12762077152729034)
L7_32 = np.float32(-0.07634670287370682)


@point
def _log_32(h: Any, low: Any) -> Any:
    bits = np.int32(np.float32(h).view(np.int32) - SQRT_HALF_BITS_32)
    k = np.int32(bits >> 23)
    m = np.int32(np.int32(bits & MANTISSA_32) + SQRT_HALF_BITS_32).view(np.float32)
    n = np.float32(k)
    f = fma(low, np.int32(np.int32(127 - k) << 23).view(np.float32), m - ONE_32)
    q = fma(f, fma(f, fma(f, fma(f, L7_32, L6_32), L5_32), L4_32), L3_32)
    q = fma(f, fma(f, fma(f, q, L2_32), L1_32), L0_32)
    square = f * f
    return fma(n, LN2_HI_32, f + fma(f * square, q, fma(n, LN2_LO_32, -HALF_32 * square)))


SQRT_HALF_BITS_64 = np.int64(0x3FE6A09E667F3BCD)
MANTISSA_64 = np.int64(0xFFFFFFFFFFFFF)
# * relative error 2^-59.1 of log(1 + f) = 2 s + s^3 R(s^2) with s = f / (2 + f): one division and
# 7 terms, where a polynomial in f would take 19
L0_64 = 0.6666666666666735
L1_64 = 0.3999999999940748
L2_64 = 0.28571428744142524
L3_64 = 0.22222198378361815
L4_64 = 0.18183575171491548
L5_64 = 0.15313755605136403
L6_64 = 0.14799067666549012


@point
def _log_64(h: Any, low: Any) -> Any:
    bits = np.int64(np.float64(h).view(np.int64) - SQRT_HALF_BITS_64)
    k = np.int64(bits >> 52)
    m = np.int64(np.int64(bits & MANTISSA_64) + SQRT_HALF_BITS_64).view(np.float64)
    n = np.float64(np.int32(k))
    f = fma(low, np.int64(np.int64(1023 - k) << 52).view(np.float64), m - 1.0)
    s = f / (2.0 + f)
    z = s * s
    r = fma(z, fma(z, fma(z, fma(z, L6_64, L5_64), L4_64), L3_64), L2_64)
    r = z * fma(z, fma(z, r, L1_64), L0_64)
    half_square = 0.5 * f * f
    return fma(n, LN2_HI_64, f - (half_square - fma(s, half_square + r, n * LN2_LO_64)))


@point
def log_point(h: Any, low: Any) -> Any:
    """Return log(h + low)."""
    if isinstance(h, np.float32):
        return _log_32(h, low)
    else:
        return _log_64(h, low)


# --- the operations, one element ---------------------------------------------------------------


@point
def sigmoid_point(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)).

    With q = e / (1 + e): 1 - q on the right and e - e q on the left. The one rounding that counts
    is the last, where e / (1 + e) would add up three. float32 also carries the exponential's own
    rounding error on the left; on the right, where it has no business, it costs up to 0.5 ULP of
    1.7, and a selection costs 8 % of the time. float64 pays 25 % for it, so it does not.
    """
    one = like(x, 1)
    e, e_low = exp_point(-abs(x))
    q = e / (one + e)
    base = one if x >= 0 else e
    if isinstance(x, np.float32):
        return base + fma(-base, q, e_low)
    else:
        return fma(-base, q, base)


@point
def clip_point(p: Any, bounds: Any) -> Any:
    """Return p clipped to the bounds; NaN stays NaN."""
    c = bounds[0] if p < bounds[0] else p
    return bounds[1] if c > bounds[1] else c


@point
def hard_loss_point(c: Any, positive: Any) -> Any:
    """Return -log(c), or -log(1 - c) with the rounding error of 1 - c put back."""
    one = like(c, 1)
    h = one - c
    # c - c is 0, or NaN for NaN: the logarithm looks at the bits of its argument alone.
    return -log_point(c if positive else h, c - c if positive else (one - h) - c)


@point
def soft_loss_point(c: Any, y: Any) -> Any:
    """Return -(y log(c) + (1 - y) log(1 - c)); an absent share costs 0."""
    return y * hard_loss_point(c, True) + (like(c, 1) - y) * hard_loss_point(c, False)


@point
def wrong_side_point(z: Any, y: Any) -> Any:
    """Return max(z, 0) - z y as |z| times the label's share on the wrong side.

    Nothing cancels, and a right label at an infinite logit costs 0 instead of inf - inf.
    """
    wrong = like(z, 1) - y if z >= 0 else y
    return like(z, 0) if wrong == 0 else abs(z) * wrong


@point
def clipped_slope_point(c: Any, y: Any) -> Any:
    """Return the derivative of the clipped loss, with one division instead of two."""
    return (c - y) / (c * (like(c, 1) - c))


# --- float16 -------------------------------------------------------------------------------------
# Numba has no float16 on a CPU: its arrays come as uint16, and these functions make numbers of the
# bits. Integer arithmetic throughout, since not every processor has instructions for it.

HALF_INF = np.int32(0x7C00)
HALF_NAN = np.int32(0x7E00)
INF_BITS_32 = np.int32(0x7F800000)
HALF_BITS_32 = np.int32(0x3F000000)  # 1 / 2
LEAST_HALF_32 = np.float32(2.0**-24)
LEAST_NORMAL_HALF_BITS_32 = np.int32(0x38800000)  # 2^-14
OVER_HALF_BITS_32 = np.int32(0x47800000)  # 2^16
REBIAS_32 = np.int32((127 - 15) << 23)


@point
def float_of_half_point(bits: Any) -> Any:
    """Return the float32 of the same value."""
    h = np.int32(bits)
    size = np.int32(h & np.int32(0x7FFF))
    sign = np.int32(np.int32(h & np.int32(0x8000)) << 16)
    wide = np.int32(size << 13)
    normal = np.int32(wide + REBIAS_32)
    special = np.int32(wide | INF_BITS_32)
    subnormal = np.float32(np.float32(size) * LEAST_HALF_32).view(np.int32)
    found = special if size >= HALF_INF else normal
    found = subnormal if size < np.int32(0x400) else found
    return np.int32(found | sign).view(np.float32)


@point
def half_of_float_point(value: Any) -> Any:
    """Return the bits of the nearest float16, ties to even."""
    bits = np.float32(value).view(np.int32)
    sign = np.int32(np.int32(bits >> 16) & np.int32(0x8000))
    size = np.int32(bits & np.int32(0x7FFFFFFF))
    even = np.int32(np.int32(size >> 13) & np.int32(1))
    normal = np.int32(np.int32(size + np.int32(0xFFF) + even - REBIAS_32) >> 13)
    # Adding 1/2, whose last bit is worth 2^-24, rounds to whole subnormals.
    rounded = np.float32(size.view(np.float32) + HALF_32)
    subnormal = np.int32(rounded.view(np.int32) - HALF_BITS_32)
    found = subnormal if size < LEAST_NORMAL_HALF_BITS_32 else normal
    found = HALF_INF if size >= OVER_HALF_BITS_32 else found
    found = HALF_NAN if size > INF_BITS_32 else found
    return np.uint16(found | sign)


@point
def number(x: Any) -> Any:
    """Return an element to compute with: a float as it is, uint16 as the float16 it stands for."""
    if isinstance(x, np.uint16):
        return float_of_half_point(x)
    else:
        return x


@point
def element(before: Any, value: Any) -> Any:
    """Return `value` as an array has it whose element was `before`: bits if that is uint16."""
    if isinstance(before, np.uint16):
        return half_of_float_point(value)
    else:
        return value


# --- elementwise loops ---------------------------------------------------------------------------


def into(target: Any, source: Any) -> Any:
    """Return the array to write: `target`, or `source` where the target is True."""
    return source if target is True else target


@overload(into)
def _into_overload(target, source):
    if isinstance(target, types.Boolean):
        return lambda target, source: source
    return lambda target, source: target


@block
def sigmoid_block(x: Any, out: Any) -> None:
    """Sigmoid."""
    result = into(out, x)
    for i in range(x.size):
        result[i] = element(result[i], sigmoid_point(number(x[i])))


@block
def sigmoid_backward_block(dvalues: Any, output: Any, out: Any) -> None:
    """Gradient through the sigmoid."""
    result = into(out, dvalues)
    for i in range(output.size):
        s = number(output[i])
        result[i] = element(result[i], number(dvalues[i]) * s * (like(s, 1) - s))


@block
def convert_block(source: Any, target: Any) -> None:
    """Convert float16 to float32, or back: the one that is uint16 holds the bits."""
    for i in range(source.size):
        target[i] = element(target[i], number(source[i]))


@block
def is_hard_block(y: Any) -> Any:
    """Tell whether all labels are 0 or 1."""
    soft = 0
    for i in range(y.size):
        soft |= np.int32((y[i] != 0) & (y[i] != 1))
    return soft == 0


@block
def check_labels_block(y: Any, faults: Any) -> None:
    """Note in `faults` that a label is NaN or outside [0, 1]."""
    wrong = 0
    for i in range(y.size):
        wrong |= np.int32(not ((y[i] >= 0) & (y[i] <= 1)))
    if wrong != 0:
        faults[0] = 1


@block
def clipped_block(
    p: Any, y: Any, w: Any, loss: Any, grad: Any, bounds: Any, scale: Any, hard: Any
) -> None:
    """Clipped loss and gradient; `hard` is None where labels may be soft."""
    losses, slopes = into(loss, p), into(grad, p)
    for i in range(p.size):
        c = clip_point(p[i], bounds)
        t = like(c, y[i])
        if loss is not None:
            value = soft_loss_point(c, t) if hard is None else hard_loss_point(c, y[i] != 0)
            losses[i] = value if w is None else value * like(c, w[i])
        if grad is not None:
            slope = clipped_slope_point(c, t) * like(c, scale)
            slopes[i] = slope if w is None else slope * like(c, w[i])


@block
def clipped_product_block(p: Any, y: Any, bounds: Any, scale: Any, products: Any, grad: Any) -> Any:
    """Multiply each hard label's probability into its lane; tell whether a label was soft."""
    slopes = into(grad, p)
    soft = 0
    for i in range(p.size):
        c = clip_point(p[i], bounds)
        products[i] *= np.float64(c) if y[i] != 0 else 1.0 - np.float64(c)
        soft |= np.int32((y[i] != 0) & (y[i] != 1))
        if grad is not None:
            slopes[i] = clipped_slope_point(c, like(c, y[i])) * like(c, scale)
    return soft


@block
def clipped_soft_block(
    p: Any, y: Any, bounds: Any, scale: Any, linear: Any, products: Any, grad: Any
) -> None:
    """Add each label's loss, hard or soft, to its lane.

    With s, the smaller of c and 1 - c, and r = s / (1 - s), the loss is log(1 + r) less log(r)
    times the label's share of the smaller side: no two terms cancel, and lanes as in
    :func:`logits_block` take one logarithm an element where the formula has two.
    """
    slopes = into(grad, p)
    for i in range(p.size):
        c = clip_point(p[i], bounds)
        one = like(c, 1)
        t = like(c, y[i])
        low = c < like(c, 0.5)
        small = c if low else one - c
        r = small / (one - small)
        cost = -log_point(r, like(c, 0)) * (t if low else one - t)  # NaN comes in the product
        linear[i] = fma(cost, like(c, 1 / TERMS), linear[i])
        products[i] = fma(r, one + products[i], products[i])
        if grad is not None:
            slopes[i] = clipped_slope_point(c, t) * like(c, scale)


@block
def logits_block(
    z: Any,
    y: Any,
    w: Any,
    loss: Any,
    grad: Any,
    hess: Any,
    scale: Any,
    linear: Any,
    products: Any,
) -> None:
    """Loss of logits (an element each, or added to the lanes), gradient and Hessian.

    The loss is :func:`wrong_side_point` plus log(1 + e): no two terms cancel. A lane holds the mean
    of the first, since their sum may overflow, and P, the product of the 1 + e minus 1:
    P' = P + e (1 + P) keeps the tiny e that 1 + e would lose.
    """
    losses, slopes, curvatures = into(loss, z), into(grad, z), into(hess, z)
    for i in range(z.size):
        x = z[i]
        one = like(x, 1)
        t = like(x, y[i])
        e, _ = exp_point(-abs(x))
        positive = x >= 0
        d = one + e
        d_low = e - (d - one)
        if loss is not None:
            value = wrong_side_point(x, t) + log_point(d, d_low)
            losses[i] = value if w is None else value * like(x, w[i])
        if linear is not None:
            linear[i] = fma(wrong_side_point(x, t), like(x, 1 / TERMS), linear[i])
            products[i] = fma(e, one + products[i], products[i])
        if grad is not None:
            weight = like(x, scale)
            if w is not None:
                weight *= like(x, w[i])
            # The sigmoid's two sides as in sigmoid_point; e / (1 + e) alone is 1 ULP worse.
            q = e / d
            small, large = fma(-e, q, e), one - q
            right, left = (large, small) if positive else (small, large)
            slopes[i] = fma(-t, left, (one - t) * right) * weight
            if hess is not None:
                curvatures[i] = fma(-small, small, small) * weight


# --- runs: loops over arrays of any length -------------------------------------------------------
# `index` names this thread's spaces (see results), `first` the number of the first element.


@point
def step_of(spaces: Any, most: Any) -> Any:
    """Return how many elements a loop handles at a time: as many as a space holds, or `most`."""
    return SPACE if spaces.shape[0] > 0 else max(most, 1)


@block
def sigmoid_run(index: Any, first: Any, x: Any, out: Any, spaces: Any) -> None:
    """Sigmoid."""
    step = step_of(spaces, x.size)
    for s in range(0, x.size, step):
        e = min(s + step, x.size)
        result = nearby(out, spaces, index, 0, s, e)
        sigmoid_block(x[s:e], result)
        settle(out, spaces, index, 0, s, e, 0, x.size)
    fence(spaces)


@block
def sigmoid_backward_run(
    index: Any, first: Any, dvalues: Any, output: Any, out: Any, spaces: Any
) -> None:
    """Gradient through the sigmoid."""
    step = step_of(spaces, output.size)
    for s in range(0, output.size, step):
        e = min(s + step, output.size)
        result = nearby(out, spaces, index, 0, s, e)
        sigmoid_backward_block(dvalues[s:e], output[s:e], result)
        settle(out, spaces, index, 0, s, e, 0, output.size)
    fence(spaces)


@block
def clipped_run(
    index: Any,
    first: Any,
    p: Any,
    y: Any,
    w: Any,
    loss: Any,
    grad: Any,
    bounds: Any,
    scale: Any,
    faults: Any,
    spaces: Any,
) -> None:
    """Clipped loss and gradient, with one logarithm an element where the labels are hard."""
    if faults is not None:
        check_labels_block(y, faults)
    step = step_of(spaces, p.size if loss is None else LANES)
    for s in range(0, p.size, step):
        e = min(s + step, p.size)
        weights = cut(w, s, e)
        values = nearby(loss, spaces, index, 0, s, e)
        slopes = nearby(grad, spaces, index, 1, s, e)
        if loss is None:
            clipped_block(p[s:e], y[s:e], weights, values, slopes, bounds, scale, None)
        elif is_hard_block(y[s:e]):
            clipped_block(p[s:e], y[s:e], weights, values, slopes, bounds, scale, True)
        else:
            clipped_block(p[s:e], y[s:e], weights, values, slopes, bounds, scale, None)
        settle(loss, spaces, index, 0, s, e, 0, p.size)
        settle(grad, spaces, index, 1, s, e, 0, p.size)
    fence(spaces)


@block
def logits_run(
    index: Any,
    first: Any,
    z: Any,
    y: Any,
    w: Any,
    loss: Any,
    grad: Any,
    hess: Any,
    scale: Any,
    faults: Any,
    spaces: Any,
) -> None:
    """Loss of logits, gradient and Hessian of each element."""
    if faults is not None:
        check_labels_block(y, faults)
    step = step_of(spaces, z.size)
    for s in range(0, z.size, step):
        e = min(s + step, z.size)
        values = nearby(loss, spaces, index, 0, s, e)
        slopes = nearby(grad, spaces, index, 1, s, e)
        curvatures = nearby(hess, spaces, index, 2, s, e)
        weights = cut(w, s, e)
        logits_block(z[s:e], y[s:e], weights, values, slopes, curvatures, scale, None, None)
        settle(loss, spaces, index, 0, s, e, 0, z.size)
        settle(grad, spaces, index, 1, s, e, 0, z.size)
        settle(hess, spaces, index, 2, s, e, 0, z.size)
    fence(spaces)


# --- sums: lanes, strips, spans ----------------------------------------------------------------


@block
def add_block(values: Any, lanes: Any) -> None:
    """Add each value to its lane."""
    for i in range(values.size):
        lanes[i] += np.float64(values[i])


@block
def tree_sum(lanes: Any) -> Any:
    """Return the sum of the lanes, halving them; destroys them."""
    n = lanes.size
    while n > 1:
        half = (n + 1) // 2
        upper = lanes[half:n]
        for i in range(upper.size):
            lanes[i] += upper[i]
        n = half
    return lanes[0]


@block
def log_products_block(products: Any) -> None:
    """Replace each lane's product by minus its logarithm."""
    for i in range(products.size):
        products[i] = -log_point(products[i], products[i] - products[i])


@block
def softplus_lanes_block(linear: Any, products: Any, lanes: Any) -> None:
    """Write the lane's sum and log(1 + P) to it; 1 + P is split exactly, whichever is larger."""
    for i in range(linear.size):
        p = products[i]
        one = like(p, 1)
        h = one + p
        low = (one - (h - p)) if p > one else (p - (h - one))
        lanes[i] = np.float64(linear[i]) * TERMS + np.float64(log_point(h, low))


@block
def clipped_sum_run(
    index: Any,
    first: Any,
    p: Any,
    y: Any,
    w: Any,
    grad: Any,
    bounds: Any,
    scale: Any,
    faults: Any,
    spaces: Any,
    partials: Any,
    span: Any,
    work: Any,
    lanes: Any,
) -> None:
    """Add the sum of the losses of each `span` elements to its place in `partials`.

    `index` names this thread's `work` and `lanes` too. A product of probabilities needs one
    logarithm for 32 of them; soft labels and a tiny eps need one each, and weights one or two.
    Whether labels are soft comes out of the product pass itself.
    """
    if faults is not None:
        check_labels_block(y, faults)
    step = step_of(spaces, LANES)
    for start in range(0, p.size, STRIP):
        stop = min(start + STRIP, p.size)
        width = min(LANES, stop - start)
        running = lanes[index, :width]
        linear, products = work[index, 0, :width], work[index, 1, :width]
        if w is None:
            # Most soft strips show it at once. In place nothing can be done over: look at all.
            sure = stop if grad is True else min(start + PEEK, stop)
            soft = bounds[0] < PRODUCT_EPS or not is_hard_block(y[start:sure])
            if not soft:
                running[:] = 1.0
                found = 0
                for s in range(start, stop, step):
                    e = min(s + step, stop)
                    a = (s - start) % LANES
                    b = a + e - s
                    g = nearby(grad, spaces, index, 0, s, e)
                    found |= clipped_product_block(p[s:e], y[s:e], bounds, scale, running[a:b], g)
                    settle(grad, spaces, index, 0, s, e, start, stop)
                log_products_block(running)
                soft = found != 0
            if soft:
                linear[:] = 0
                products[:] = 0
                for s in range(start, stop, step):
                    e = min(s + step, stop)
                    a = (s - start) % LANES
                    b = a + e - s
                    g = nearby(grad, spaces, index, 0, s, e)
                    clipped_soft_block(p[s:e], y[s:e], bounds, scale, linear[a:b], products[a:b], g)
                    settle(grad, spaces, index, 0, s, e, start, stop)
                softplus_lanes_block(linear, products, running)
        else:
            running[:] = 0.0
            for s in range(start, stop, step):
                e = min(s + step, stop)
                a = (s - start) % LANES
                values, g = linear[: e - s], nearby(grad, spaces, index, 0, s, e)
                clipped_run(
                    index,
                    first,
                    p[s:e],
                    y[s:e],
                    w[s:e],
                    values,
                    g,
                    bounds,
                    scale,
                    None,
                    spaces[:0],
                )
                add_block(values, running[a : a + e - s])
                settle(grad, spaces, index, 0, s, e, start, stop)
        partials[(first + start) // span] += tree_sum(running)
    fence(spaces)


@block
def logits_sum_run(
    index: Any,
    first: Any,
    z: Any,
    y: Any,
    w: Any,
    grad: Any,
    hess: Any,
    scale: Any,
    faults: Any,
    spaces: Any,
    partials: Any,
    span: Any,
    work: Any,
    lanes: Any,
) -> None:
    """Add the sum of the losses of each `span` elements to its place in `partials`."""
    if faults is not None:
        check_labels_block(y, faults)
    step = step_of(spaces, LANES)
    for start in range(0, z.size, STRIP):
        stop = min(start + STRIP, z.size)
        width = min(LANES, stop - start)
        running = lanes[index, :width]
        linear, products = work[index, 0, :width], work[index, 1, :width]
        linear[:] = 0
        products[:] = 0
        running[:] = 0.0
        for s in range(start, stop, step):
            e = min(s + step, stop)
            a = (s - start) % LANES
            b = a + e - s
            g = nearby(grad, spaces, index, 0, s, e)
            h = nearby(hess, spaces, index, 1, s, e)
            if w is None:
                logits_block(z[s:e], y[s:e], w, None, g, h, scale, linear[a:b], products[a:b])
            else:
                values = linear[: e - s]
                logits_block(z[s:e], y[s:e], w[s:e], values, g, h, scale, None, None)
                add_block(values, running[a:b])
            settle(grad, spaces, index, 0, s, e, start, stop)
            settle(hess, spaces, index, 1, s, e, start, stop)
        if w is None:
            softplus_lanes_block(linear, products, running)
        partials[(first + start) // span] += tree_sum(running)
    fence(spaces)


# --- means over the last axis --------------------------------------------------------------------


@block
def row_means_block(values: Any, outputs: Any, means: Any) -> None:
    """Write the mean of each row of `outputs` values."""
    for row in range(means.size):
        total = 0.0
        for value in values[row * outputs : (row + 1) * outputs]:
            total += np.float64(value)
        means[row] = total / outputs


@block
def clipped_rows_run(
    index: Any,
    first: Any,
    p: Any,
    y: Any,
    w: Any,
    grad: Any,
    bounds: Any,
    scale: Any,
    faults: Any,
    spaces: Any,
    loss: Any,
    outputs: Any,
    work: Any,
) -> None:
    """Clipped loss as means over rows of `outputs` elements, and gradient."""
    step = (work.shape[1] - APART) // outputs * outputs
    for s in range(0, p.size, step):
        e = min(s + step, p.size)
        values = work[index, : e - s]
        weights, g = cut(w, s, e), cut(grad, s, e)
        clipped_run(index, first, p[s:e], y[s:e], weights, values, g, bounds, scale, faults, spaces)
        row_means_block(values, outputs, loss[(first + s) // outputs : (first + e) // outputs])


@block
def logits_rows_run(
    index: Any,
    first: Any,
    z: Any,
    y: Any,
    w: Any,
    grad: Any,
    hess: Any,
    scale: Any,
    faults: Any,
    spaces: Any,
    loss: Any,
    outputs: Any,
    work: Any,
) -> None:
    """Loss of logits as means over rows of `outputs` elements, gradient and Hessian."""
    step = (work.shape[1] - APART) // outputs * outputs
    for s in range(0, z.size, step):
        e = min(s + step, z.size)
        values = work[index, : e - s]
        g, h = cut(grad, s, e), cut(hess, s, e)
        weights = cut(w, s, e)
        logits_run(index, first, z[s:e], y[s:e], weights, values, g, h, scale, faults, spaces)
        row_means_block(values, outputs, loss[(first + s) // outputs : (first + e) // outputs])


# --- the same, shared among threads --------------------------------------------------------------

share_sigmoid = sharing(sigmoid_run)


@block
def sigmoid_team(arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any) -> None:
    """Share :func:`sigmoid_run`."""
    share_sigmoid(arrays, options, n, grain, slots, threads)


share_sigmoid_backward = sharing(sigmoid_backward_run)


@block
def sigmoid_backward_team(
    arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any
) -> None:
    """Share :func:`sigmoid_backward_run`."""
    share_sigmoid_backward(arrays, options, n, grain, slots, threads)


share_clipped = sharing(clipped_run)


@block
def clipped_team(arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any) -> None:
    """Share :func:`clipped_run`."""
    share_clipped(arrays, options, n, grain, slots, threads)


share_clipped_sum = sharing(clipped_sum_run)


@block
def clipped_sum_team(
    arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any
) -> None:
    """Share :func:`clipped_sum_run`."""
    share_clipped_sum(arrays, options, n, grain, slots, threads)


share_clipped_rows = sharing(clipped_rows_run)


@block
def clipped_rows_team(
    arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any
) -> None:
    """Share :func:`clipped_rows_run`."""
    share_clipped_rows(arrays, options, n, grain, slots, threads)


share_logits = sharing(logits_run)


@block
def logits_team(arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any) -> None:
    """Share :func:`logits_run`."""
    share_logits(arrays, options, n, grain, slots, threads)


share_logits_sum = sharing(logits_sum_run)


@block
def logits_sum_team(
    arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any
) -> None:
    """Share :func:`logits_sum_run`."""
    share_logits_sum(arrays, options, n, grain, slots, threads)


share_logits_rows = sharing(logits_rows_run)


@block
def logits_rows_team(
    arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any
) -> None:
    """Share :func:`logits_rows_run`."""
    share_logits_rows(arrays, options, n, grain, slots, threads)

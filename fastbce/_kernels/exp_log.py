"""Exponential and logarithm of one element, branch-free: what a loop over them is packed with.

Every multiply-add that is fused is written so: an element's bits do not depend on its position, the
array's length or the width of the vector unit. Constants marked * come from
``tools/coefficients.py``, which prints them with their errors.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numba import config, types
from numba.extending import intrinsic

from .compile import point


def fma(a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` rounded once; this is the definition, compiled it is an instruction."""
    if not np.isfinite(a * b + c):
        return a * b + c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    return type(c)(float(exact))


def like(x: Any, value: Any) -> Any:
    """Return `value` in the type of `x`: a Python constant would widen float32 to float64."""
    return (np.float32 if isinstance(x, np.float32) else np.float64)(value)


# Functions that return one or the other would be compiled anew for each type of their arguments.
@intrinsic
def _fma_compiled(typing_context, a, b, c):
    return a(a, a, a), lambda context, builder, signature, args: builder.fma(*args)


@intrinsic
def _like_compiled(typing_context, x, value):
    kind = x if x == types.float32 else types.float64

    def generate(context, builder, signature, args):
        return context.cast(builder, args[1], signature.args[1], kind)

    return kind(x, types.unliteral(value)), generate


if not config.DISABLE_JIT:
    fma, like = _fma_compiled, _like_compiled


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


# --- log(s / (t + l)) for normal s, t > 0 and |l| <= ulp(t) / 2 --------------------------------
# With 2^k near s / t the quotient is no rounded number: log((1 + q) / (1 - q)) = 2 q + q^3 R(q^2)
# for q = (s 2^-k - t - l) / (s 2^-k + t), whose numerator is exact or nearly so. The bits of s less
# those of t tell k. With SHARE added, s 2^-k / t lies between 0.58 and 1.28, and k is 0 for odds
# that would cancel most of ln 2 if it were -1 (1.5 ULP at most; the nearest k gives 1.8). A NaN
# must come in s.

SHARE_BITS_32 = np.int32(0.72 * 2**23)
# * relative error 2^-29.6
A0_32 = np.float32(0.6666663289070129)
A1_32 = np.float32(0.4000495672225952)
A2_32 = np.float32(0.28361883759498596)
A3_32 = np.float32(0.25659722089767456)


@point
def _log_ratio_32(s: Any, t: Any, t_low: Any) -> Any:
    bits = np.int32(np.float32(s).view(np.int32) - np.float32(t).view(np.int32))
    k = np.int32(np.int32(bits + SHARE_BITS_32) >> 23)
    scaled = s * np.int32(np.int32(127 - k) << 23).view(np.float32)
    q = ((scaled - t) - t_low) / (scaled + t)
    z = q * q
    tail = q * z * fma(z, fma(z, fma(z, A3_32, A2_32), A1_32), A0_32)
    n = np.float32(k)
    return fma(n, LN2_HI_32, fma(q, like(q, 2), fma(n, LN2_LO_32, tail)))


SHARE_BITS_64 = np.int64(0.72 * 2**52)
# * relative error 2^-55.1
A0_64 = 0.6666666666665958
A1_64 = 0.40000000003250674
A2_64 = 0.2857142806192087
A3_64 = 0.22222260780300943
A4_64 = 0.18180208562627856
A5_64 = 0.15423563984731645
A6_64 = 0.1279254792626419
A7_64 = 0.15691439715100153


@point
def _log_ratio_64(s: Any, t: Any, t_low: Any) -> Any:
    bits = np.int64(np.float64(s).view(np.int64) - np.float64(t).view(np.int64))
    k = np.int64(np.int64(bits + SHARE_BITS_64) >> 52)
    scaled = s * np.int64(np.int64(1023 - k) << 52).view(np.float64)
    q = ((scaled - t) - t_low) / (scaled + t)
    z = q * q
    r = fma(z, fma(z, fma(z, fma(z, fma(z, A7_64, A6_64), A5_64), A4_64), A3_64), A2_64)
    tail = q * z * fma(z, fma(z, r, A1_64), A0_64)
    n = np.float64(np.int32(k))
    return fma(n, LN2_HI_64, fma(q, 2.0, fma(n, LN2_LO_64, tail)))


@point
def log_ratio_point(s: Any, t: Any, t_low: Any) -> Any:
    """Return log(s / (t + t_low))."""
    if isinstance(s, np.float32):
        return _log_ratio_32(s, t, t_low)
    else:
        return _log_ratio_64(s, t, t_low)

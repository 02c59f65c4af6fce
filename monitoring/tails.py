"""Upper tails of the two distributions that p-values are taken from, in closed form.

scipy.special has both, but would be half of what a worker imports before it is ready.
"""

from __future__ import annotations

import math
from typing import Final

_TERMS: Final = 4  # on its own side of 1 the fifth term of either series is below 1e-21
_NEAR_ZERO: Final = 0.1  # the tail differs from 1 by less than 1e-52 here


def kolmogorov_tail(x: float) -> float:
    """P(K > x) of Kolmogorov's distribution, to 1e-14 of its value.

    2 Σ (-1)^(k-1) exp(-2 k² x²), or by the theta function's identity 1 - √(2π)/x Σ exp(-(2k-1)² π² / (8 x²)), whichever
    converges faster.

    Source: Feller, On the Kolmogorov-Smirnov limit theorems for empirical distributions, Ann. Math. Stat. 19, 1948.

    Example:
        >>> round(kolmogorov_tail(1.3581), 4), round(kolmogorov_tail(1.6276), 4)
        (0.05, 0.01)
    """
    if x < _NEAR_ZERO:
        return 1.0
    if x < 1.0:
        terms = (math.exp(-(((2 * k - 1) * math.pi / x) ** 2) / 8) for k in range(1, _TERMS + 1))
        return 1.0 - math.sqrt(2 * math.pi) / x * sum(terms)
    return 2 * sum((-1.0) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, _TERMS + 1))


def chi_square_tail(freedom: int, x: float) -> float:
    """P(X > x) of a chi-square with a whole number of degrees of freedom, to 1e-11 of its value.

    With h = x/2: exp(-h) Σ h^i / Γ(i + 1) over i = 0, 1, … below freedom/2; for an odd number, i = 1/2, 3/2, … and
    erfc(√h) is added.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.4 and 26.4.5.

    Args:
        freedom: 1 or more.
        x: anything; the tail is 1 at 0 and below.

    Example:
        >>> round(chi_square_tail(1, 3.8415), 4), round(chi_square_tail(9, 21.666), 4)
        (0.05, 0.01)
    """
    half, odd = x / 2, freedom % 2
    if half <= 0:
        return 1.0
    log = math.log(half)  # of the terms: with many degrees of freedom their parts do not fit a double
    steps = (i + odd / 2 for i in range(freedom // 2))
    total = sum(math.exp(step * log - half - math.lgamma(step + 1)) for step in steps)
    return total + math.erfc(math.sqrt(half)) if odd else total

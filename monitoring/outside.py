"""How many new values may lie where the reference has none: beyond its extremes, or in categories it never saw."""

from __future__ import annotations

import math


def outside_by_chance(m: int, spare: int) -> float:
    """Tell the mean share of new values outside by chance: (spare + 1) / (m + 1); arguments as `outside_p_value`."""
    return (spare + 1) / (m + 1)


def outside_p_value(outside: int, n: int, m: int, spare: int) -> float:
    """Tell how often at least so many of n new values would lie outside the range of m of the same distribution.

    Whatever the distribution, every order of the n + m values is equally likely, so the outermost k = outside + spare
    of them are a draw of k without replacement: P = Σ C(m, j) C(n, k - j) / C(n + m, k) over j = 0 … spare, the chance
    that at most `spare` of them are the reference's. For the values beyond both extremes `spare` is 1: these are as
    many as lie above the second largest, because the spaces between ordered values are exchangeable. Ties only make p
    err upwards.

    For categories `spare` is the number of rows that are the only ones of their category: left out one after the other,
    these are the rows that the rest of the reference never saw (Good's estimate of what is unseen).

    Source: Gumbel and von Schelling, The distribution of the number of exceedances, Ann. Math. Stat. 21(2), 1950;
    Wilks, Statistical prediction with special reference to the problem of tolerance limits, Ann. Math. Stat. 13(4),
    1942; Good, The population frequencies of species, Biometrika 40(3-4), 1953.

    Args:
        outside: of the n values, how many lie outside.
        n: 1 or more.
        m: 1 or more.
        spare: 0 for one side, 1 for both, fewer than m; the time grows with it.

    Example:
        >>> round(outside_p_value(1, 100, 100, 0), 3), round(outside_p_value(5, 100, 400, 1), 4)
        (0.5, 0.0015)
    """
    if outside <= 0:
        return 1.0
    drawn = outside + spare
    total = _log_choose(n + m, drawn)
    terms = (
        math.exp(_log_choose(m, ours) + _log_choose(n, drawn - ours) - total)
        for ours in range(spare + 1)
        if drawn - ours <= n
    )
    return min(sum(terms), 1.0)


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)

"""The interval of a share."""

from __future__ import annotations

import math

from monitoring.performance.figure import Z


def wilson(share: float, n: float) -> tuple[float, float]:
    """Bound the probability behind a share seen in n trials, with 95 % confidence.

    (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n). Stays within 0 and 1, and says something at a share of 0 or 1,
    where the normal interval has no width.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, J. Am. Stat. Assoc. 22, 1927.

    Args:
        share: 0 to 1.
        n: trials, above 0; a fraction where they are an effective number.

    Example:
        >>> [round(bound, 3) for bound in wilson(0.9, 100)]
        [0.826, 0.945]
    """
    z2 = Z * Z / n
    middle = share + z2 / 2
    half = Z * math.sqrt((share * (1 - share) + z2 / 4) / n)
    return max((middle - half) / (1 + z2), 0.0), min((middle + half) / (1 + z2), 1.0)

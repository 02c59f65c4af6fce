"""Outside judges of the load generator: what h2load and k6 say of the same server at the same rate."""

from __future__ import annotations

from benchmarks.judges.compare import Judgement, JudgesReport, judge
from benchmarks.judges.tools import MissingToolError, Reading

__all__ = ["Judgement", "JudgesReport", "MissingToolError", "Reading", "judge"]

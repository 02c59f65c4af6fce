"""The report of `hotgate drift --html`."""

from gateway.observe.report.page import page

__all__ = ["page"]

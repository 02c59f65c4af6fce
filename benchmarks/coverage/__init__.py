"""What of scikit-learn can be served: every estimator tried, for `docs/coverage.md`."""

"""What of scikit-learn can be served: every estimator fitted, converted, verified and checked once more."""

"""The gate: whether a version may take the champion's place."""

"""The gateway beside other model servers that serve the same model: one run, one machine, one core."""

"""From data to a registered version: candidates, tracking, the model file, the registry."""

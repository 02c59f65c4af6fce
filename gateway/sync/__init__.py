"""The sync sidecar: keeps the model store in step with the registry, verified file by verified file."""

"""The peers' servers; each is run by its path with the Python of its own environment and imports nothing of hotgate."""

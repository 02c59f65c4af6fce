"""What runs in the peers' environments, by its path: it imports nothing of hotgate."""

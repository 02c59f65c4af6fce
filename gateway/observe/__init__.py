"""The observer: one process beside the workers that does with the data what is not on the request path."""

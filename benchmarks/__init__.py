"""Figures of this machine: load, peers, start-up, memory, swaps; and the tools that take them."""

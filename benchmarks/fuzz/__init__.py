"""Requests that no client should send, among many that it should: no answer may be wrong, or another caller's."""

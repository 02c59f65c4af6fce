"""Promotion and what stands around serving: who put which version where, and the demo."""

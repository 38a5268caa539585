"""Subscribers: users, keys, sessions, quotas, usage and their conversations."""

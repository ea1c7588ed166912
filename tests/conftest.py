"""Shared by all tests. Examples have no deadline: the machines that run them are shared, and time is a benchmark's."""

from hypothesis import settings

settings.register_profile("midspan", deadline=None)
settings.load_profile("midspan")

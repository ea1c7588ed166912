"""Hypothesis without its clock: a shared machine is slow at any moment, and no test here is about time."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

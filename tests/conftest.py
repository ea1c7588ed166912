"""Shared by all tests. Examples have no deadline: the machines that run them are shared, and time is a benchmark's."""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("MIDSPAN_DISK_CACHE", "false")  # no server of a test reads or writes what a user has there

settings.register_profile(
    "midspan", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
settings.load_profile("midspan")

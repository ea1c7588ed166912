"""The fixture notation itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixture import Fixture, parse, show
def test_x(): assert parse("a║b").start==1

"""Profiles of hypothesis: the ordinary one is that of each test; `--hypothesis-profile=thorough` is for the contract, see there."""
from hypothesis import settings

settings.register_profile('thorough', max_examples=10000, deadline=None)

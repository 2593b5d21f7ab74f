"""Which initializer a network should have: measured candidates, ranked."""

from jinit.advise._recommend import Candidate, recommend

__all__ = ["Candidate", "recommend"]

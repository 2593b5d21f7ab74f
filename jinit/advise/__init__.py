"""Ranks initializers for a network by theory and by measurement."""

from jinit.advise._recommend import Candidate, recommend

__all__ = ["Candidate", "recommend"]

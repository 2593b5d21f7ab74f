"""Ranks initializers for a network by measurement, with the prediction of theory beside it."""

from jinit.advise._recommend import Candidate, recommend

__all__ = ["Candidate", "recommend"]

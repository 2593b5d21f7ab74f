"""Ranks initializers for a network by measurement, with the prediction of theory beside it."""

from jinit._switches import guard
from jinit.advise._recommend import recommend

__all__ = ["recommend"]

guard(__name__)

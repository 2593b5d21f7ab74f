"""What signal propagation theory says before anything is drawn. Host-side numbers, no sampling."""

from jinit.theory.mean_field import edge_of_chaos, length_fixed_point, susceptibility

__all__ = ["edge_of_chaos", "length_fixed_point", "susceptibility"]

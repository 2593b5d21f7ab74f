"""Writes fixes as statements that run where the audit ran; they use its arguments by name."""

from __future__ import annotations

import glob
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from jinit.frameworks._layout import Layers
from jinit.parameters._norms import NORM
from jinit.parameters._rules import Rules

# A longer mapping is named, not printed.
_FEW_LAYERS = 3
# JAX draws no 8-bit floats: they are drawn in float32 and converted. A leaf that is kept stays the
# same object, so that none loses the memory that it shares or is converted twice.
_WIDEN = (
    "in_float32 = jax.tree.map("
    "lambda w: w.astype('float32') if w.dtype.itemsize == 1 else w, params); "
)
_NARROW = (
    "jax.tree.map(lambda w, kept, drawn: w if drawn is kept else drawn.astype(w.dtype), "
    "params, in_float32, {drawn})"
)


@dataclass(frozen=True)
class Fixes:
    """What a fix has to repeat of the call of ``audit``.

    Attributes:
      leaves: the number of leaves.
      host, layers, rules: the arguments of ``audit``.
      patterns: path → pattern of the rule that the leaf has; leaves that rules keep, and scales of
        weight norms under rules with patterns, are missing.
      norms: path of a kernel under weight norm → path of its scale, which a redraw must set, too.
      rescaled: paths of the leaves that only a preset may draw, because their layers rescale them.
      unknown: paths of the leaves from which a layer computes its kernel in an unknown way.
      is_wide: whether JAX must first be told to draw 64 bits.
      is_narrow: whether some leaves are 8-bit floats, which JAX cannot draw.
    """

    leaves: int
    host: str = "flax"
    layers: Layers | None = None
    rules: Rules | None = None
    patterns: Mapping[str, str] = field(default_factory=dict)
    norms: Mapping[str, str] = field(default_factory=dict)
    rescaled: Collection[str] = ()
    unknown: Collection[str] = ()
    is_wide: bool = False
    is_narrow: bool = False

    def redraw(self, path: str, rule: str, comment: str = "") -> str:
        """The statement that draws one leaf again, and a comment.

        Args:
          path: the path of the leaf.
          rule: a spec string, for a leaf without a rule among ``rules``.
          comment: words after ``#``; "" for none.

        >>> print(Fixes(1).redraw("kernel", "he_normal"))
        params = jinit.initialize(jax.random.key(0), params, {'kernel': 'he_normal'})
        """
        if path in self.unknown:
            return "draw the layer before it is wrapped"
        words = f"  # {comment}" if comment else ""
        # Names may contain the characters of patterns.
        pattern = glob.escape(path)
        if path in self.rescaled and path not in self.patterns:
            return f"{self._statement(repr(self.host), f', where={pattern!r}')}{words}"
        return f"{self._statement(self._rules(path, pattern, rule))}{words}"

    def _rules(self, path: str, pattern: str, rule: str) -> str:
        given = repr(rule)
        if self.rules is not None and path in self.patterns:
            if isinstance(self.rules, str):
                # A preset draws with the fans of its host, mistakes included.
                return repr(self.rules)
            own = self.rules[self.patterns[path]]
            given = repr(own) if isinstance(own, str) else f"rules[{self.patterns[path]!r}]"
        # A pattern that no leaf uses is refused.
        keep = ", '*': 'keep'" if self.leaves > 1 else ""
        if path in self.norms:
            scale = f", {glob.escape(self.norms[path])!r}: {NORM!r}"
            keep = f"{scale}{keep if self.leaves > 2 else ''}"
        return f"{{{pattern!r}: {given}{keep}}}"

    def _statement(self, rules: str, where: str = "") -> str:
        wide = "jax.config.update('jax_enable_x64', True); " if self.is_wide else ""
        tree = "in_float32" if self.is_narrow else "params"
        call = f"{tree}, {rules}{self._call()}{where}"
        drawn = f"jinit.initialize(jax.random.key(0), {call})"
        if self.is_narrow:
            return f"{wide}{_WIDEN}params = {_NARROW.format(drawn=drawn)}"
        return f"{wide}params = {drawn}"

    def _call(self) -> str:
        host = "" if self.host == "flax" else f", host={self.host!r}"
        if self.layers is None:
            return host
        written = "layers"
        if isinstance(self.layers, Mapping) and len(self.layers) <= _FEW_LAYERS:
            kinds = dict(self.layers)
            if all(isinstance(kind, str) for kind in kinds.values()):
                written = repr(kinds)
        return f"{host}, layers={written}"

"""Defines the static settings of a training run. Loads no JAX: ``--help`` shows the defaults."""

from __future__ import annotations

from dataclasses import dataclass

from jinit import errors
from jinit.train._target import Target, parse

# The scan counts steps in int32; the curves of every run are kept in memory.
MOST_STEPS = 2**31 - 2
MOST_EVALUATIONS = 10_000
SAMPLINGS = ("replacement", "epochs")
PRECISIONS = ("float32", "bfloat16", "float64")


@dataclass(frozen=True)
class FitConfig:
    """The numbers of a run that are static in its program; learning rates etc. may be traced.

    Attributes:
      steps: optimizer steps, 1 to 2³¹ − 2.
      batch_size: examples per gradient, ≥ 1.
      evaluations: points of the learning curves, 1 to 10,000, log-spaced from step 1 to the last.
      target_accuracy: test accuracy in (0, 1]; the metric ``steps_to_target`` is the first
        evaluated step that reaches it.
      sampling: ``"replacement"``: each step draws its examples anew; or ``"epochs"``: every example
        once per epoch, in a new order each time, the last batch of an epoch smaller if the batch
        size does not divide the number of examples.
      target: another target for ``steps_to_target``, such as ``"test_loss<=0.1"``; default None.
      stop_at_target: whether a run ends at its first evaluation that reaches the target, or once it
        is frozen; default False.
      evaluate_every: steps from one evaluation to the next, instead of log-spaced ones; None
        (default): log-spaced.
      accumulate: gradients per step, ≥ 1. A step draws ``accumulate · batch_size`` examples and
        applies the mean of the gradients of its parts, with the memory of one part: steps,
        schedules and curves count updates.
      precision: what the network computes in. ``"float32"``; ``"bfloat16"``: parameters and
        examples are rounded before each forward pass, while the loss, the gradients and the
        weights that training keeps are float32; ``"float64"``: everything, from the float32 draws
        on, which needs JAX's switch ``jax_enable_x64``.

    Raises:
      TypeError: a value that is not a number, or not a whole one.
      ValueError: a number out of range.

    >>> FitConfig(steps=100).batch_size
    32
    """

    steps: int = 300
    batch_size: int = 32
    evaluations: int = 16
    target_accuracy: float = 0.9
    sampling: str = "replacement"
    target: str | None = None
    stop_at_target: bool = False
    evaluate_every: int | None = None
    accumulate: int = 1
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, most in (
            ("steps", MOST_STEPS),
            ("batch_size", None),
            ("evaluations", MOST_EVALUATIONS),
            ("accumulate", 10_000),
        ):
            fix = f"use {getattr(FitConfig, name)}"
            errors.check_integer(name, getattr(self, name), low=1, high=most, fix=fix)
        errors.check_number(
            "target_accuracy", self.target_accuracy, low=0.0, high=1.0, open_low=True, fix="try 0.9"
        )
        errors.check_choice("sampling", self.sampling, SAMPLINGS)
        errors.check_choice("precision", self.precision, PRECISIONS)
        if self.target is not None:
            object.__setattr__(self, "target", str(parse(self.target)))
        errors.check_bool("stop_at_target", self.stop_at_target)
        if self.evaluate_every is not None:
            self._check_every(self.evaluate_every)

    @property
    def goal(self) -> Target:
        """What ``steps_to_target`` waits for.

        >>> FitConfig(target="test_loss<=0.1").goal.metric
        'test_loss'
        """
        if self.target is not None:
            return parse(self.target)
        return Target("test_accuracy", self.target_accuracy, higher=True)

    def _check_every(self, every: int) -> None:
        errors.check_integer("evaluate_every", every, low=1, high=self.steps, fix="use 10")
        points = -(-self.steps // every)
        if points > MOST_EVALUATIONS:
            fix = f"use {-(-self.steps // MOST_EVALUATIONS)}"
            allowed = f"at most {MOST_EVALUATIONS:,} evaluations of {self.steps:,} steps"
            raise errors.refusal("evaluate_every", every, allowed, fix)
        if self.evaluations != FitConfig.evaluations:
            raise errors.refusal(
                "evaluations",
                self.evaluations,
                "its default beside evaluate_every, which sets the points",
                "give one of the two",
            )

    @property
    def examples(self) -> int:
        """Examples per step.

        >>> FitConfig(batch_size=8, accumulate=4).examples
        32
        """
        return self.accumulate * self.batch_size

    def evaluation_steps(self) -> tuple[int, ...]:
        """Numbers of completed steps after which the test set is evaluated, ascending.

        Returns:
          At most ``evaluations`` different numbers, log-spaced, or the multiples of
          ``evaluate_every``; the last is ``steps``.

        >>> FitConfig(steps=100, evaluations=5).evaluation_steps()
        (1, 3, 10, 32, 100)
        >>> FitConfig(steps=100, evaluate_every=40).evaluation_steps()
        (40, 80, 100)
        """
        if self.evaluate_every is not None:
            before = range(self.evaluate_every, self.steps, self.evaluate_every)
            return (*before, self.steps)
        import numpy as np  # takes 0.1 s, which `jinit --help` should not wait for

        count = min(self.evaluations, self.steps)
        points = np.geomspace(1, self.steps, count) if count > 1 else ()
        return tuple(sorted({*(round(point) for point in points), self.steps}))

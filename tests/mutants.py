"""Mistakes that the tests must notice: each mutant is jinit with one line changed.

    python tests/mutants.py             # all of them; each with its seconds
    python tests/mutants.py he wrong    # those whose description has one of the words

A mutant that lives is a hole in the tests. Run by `./scripts/test full mutants`.

To add one, append a row to ``MUTANTS``: what is wrong, the file in ``jinit/``, a text that occurs
once in the file, what stands there instead, and the test that must fail. `tests/_killers.py` runs
the rows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

LAWS, REGISTRY, JAX = (
    f"tests/initializers/test_{name}.py" for name in ("laws", "registry", "against_jax")
)
TREES = "tests/parameters/test_parameters.py"
ON_LINEN, ON_HAIKU, ON_EQUINOX, ON_KERAS, ON_TORCH = (
    f"tests/frameworks/test_{name}.py" for name in ("linen", "haiku", "equinox", "keras", "torch")
)
GAINS = "tests/initializers/test_gains.py"
HALF, DROP_IN = (f"tests/initializers/test_{name}.py" for name in ("half_precision", "drop_in"))
EXISTS, ALIASES = (f"initializers/_{name}.py" for name in ("exists", "aliases"))
STATS, SURVIVAL, RATES = (
    f"tests/stats/test_{name}.py" for name in ("stats", "survival", "rates_ranks_and_variance")
)
RANKED, VERDICTS = "tests/stats/test_signed_rank.py", "tests/results/test_verdicts.py"
MOMENTS, FIELD, WIDTH, PREDICT = (
    f"tests/theory/test_{name}.py"
    for name in ("moments", "mean_field", "finite_width_isometry_kernels", "predict")
)
RESIDUAL, IDENTITY = "tests/theory/test_residual.py", "tests/calibrate/test_identity.py"
ENTRIES = "tests/sweep/test_entries.py"
PRNG, PROPAGATION = "tests/test_prng.py", "tests/probes/test_propagation.py"
CALIBRATE, CALIBRATED = "tests/calibrate/test_calibrate.py", "tests/sweep/test_calibrated.py"
ANALYTIC, SHARED = "tests/calibrate/test_analytic.py", "tests/calibrate/test_shared.py"
OWN, ARMS = "tests/sweep/test_own_models.py", "tests/sweep/test_model_arms.py"
MATRIX = "tests/sweep/test_model_matrix.py"
START, STATES = "tests/sweep/test_start.py", "tests/sweep/test_calibrated_models.py"
SYMMETRY = "tests/probes/test_symmetry_and_coordinates.py"
AUDIT = "tests/auditing/test_audit.py"
LEAVES, PASTED = "tests/auditing/test_leaves.py", "tests/auditing/test_fixes.py"
PURPOSE = "tests/probes/test_purpose.py"
CHECKPOINTS = "tests/auditing/test_checkpoints.py"
POPULATION = "tests/parameters/test_population.py"
CLIPPING, TRAINING = "tests/test_clipping.py", "tests/train/test_training.py"
DATA = "tests/data/test_data.py"
BATCHES = "tests/train/test_batches.py"
BALANCED = "tests/train/test_balanced.py"
OPTIONS = "tests/train/test_optimizer_options.py"
POSITIONS = "tests/train/test_positions.py"
GENERATED = "tests/data/test_generated.py"
AS_IT_COMES = "tests/data/test_as_it_comes.py"
STACKS = "tests/frameworks/test_stacks.py"
TRACED, TRACES = "tests/engine/test_traced.py", "tests/sweep/test_traces_of_models.py"
SEVERAL = "tests/sweep/test_several_targets.py"
FUNCTIONS = "tests/sweep/test_traces_of_functions.py"
PRECISION = "tests/train/test_precision.py"
KEPT = "tests/engine/test_kept_programs.py"
LIMITS, PROGRAMS = "tests/engine/test_limits.py", "tests/engine/test_programs.py"
ELSEWHERE, SHARES = "tests/engine/test_executors.py", "tests/sweep/test_shares.py"
DEVICES, PROCESSES = "tests/engine/test_devices.py", "tests/engine/test_processes.py"
MACHINE, UNTIL = "tests/engine/test_machine.py", "tests/sweep/test_until_settled.py"
LOST, SETTINGS = "tests/sweep/test_nothing_is_lost.py", "tests/sweep/test_settings.py"
FILES = "tests/results/test_files.py"
OWN_ARMS = "tests/sweep/test_own_arms.py"
STORED, LANES_STORED = "tests/sweep/test_stored_sweeps.py", "tests/engine/test_stored_lanes.py"
STORE_FILES = "tests/database/test_store_files.py"
HALVING = "tests/sweep/test_halving.py"
MIRROR = "tests/database/test_mirror.py"
FILE_SYSTEMS = "tests/database/test_file_systems.py"
DURING = "tests/sweep/test_during_training.py"
TRACKERS = "tests/sweep/test_trackers.py"
SWITCHES = "tests/test_switches.py"
SCHEDULES = "tests/sweep/test_schedules_and_validation.py"
OBJECTIVES = "tests/sweep/test_objectives.py"
OPTIMIZERS, LEARNED = "tests/train/test_optimizers.py", "tests/sweep/test_optimizers_of_a_model.py"
ACCUMULATION, PERCENTILE = "tests/train/test_accumulation.py", "tests/test_clipping_percentile.py"
SOFTENED = "tests/train/test_softened.py"
SHARDING, CLI = "tests/initializers/test_sharding.py", "tests/test_cli.py"


@dataclass(frozen=True)
class Mutant:
    """One changed line and the test file that must fail."""

    what: str
    file: str
    old: str
    new: str
    killer: str  # a file, or ``file::test`` where what stands before it takes long


M = Mutant
SCALING, RANDOM, LAW = (
    "initializers/_scaling.py",
    "initializers/_distributions.py",
    "initializers/_laws.py",
)
FANS, DERIVED, ORTHOGONAL = "initializers/_fans.py", "initializers/_derived.py", "initializers/_orthogonal.py"  # fmt: skip
SPARSE, STRUCTURED, CHECKS = "initializers/_sparse.py", "initializers/_structured.py", "initializers/_checks.py"  # fmt: skip
TESTS, PAIRED, EFFECTS = "stats/_tests.py", "stats/_paired.py", "stats/_effects.py"
BOOTSTRAP, TIMES = "stats/_bootstrap.py", "stats/_survival.py"
MARKS = "tests/sweep/test_marks_in_a_store.py"
MANY = "tests/stats/test_many_pairs.py"
BOUNDED = "tests/stats/test_bounded_mean.py"
RANKS, STUDENT = "stats/_signed_rank.py", "stats/_studentized.py"
KERAS, TORCH = "frameworks/_keras.py", "frameworks/_torch.py"
VARIANCE = "initializers/_variance.py"
LAYOUT, GAIN, BLOCKS = "frameworks/_layout.py", "initializers/_gains.py", "initializers/_blocks.py"  # fmt: skip
MUTANTS = [
    M("control: nothing changed, so nothing dies", FANS, "import math", "import math", f"{LAWS}::test_one_entry[he_normal]"),
    M("he: σ × 1.01", SCALING, "return 2.0 / (1.0 + float(", "return 2.0402 / (1.0 + float(", f"{LAWS}::test_one_entry[he_normal]"),
    M("he: leaky slope not squared", SCALING, "float(negative_slope) ** 2)", "float(negative_slope))", f"{LAWS}::test_one_entry[he_normal(negative_slope=0.5)]"),
    M("glorot: gain not squared", SCALING, "return float(gain) ** 2", "return float(gain)", f"{LAWS}::test_one_entry[glorot_normal(gain=2.0)]"),
    M("glorot: fan_in for fan_avg", SCALING, 'scaled(kernel, _gain_squared(gain), "fan_avg", "uniform")', 'scaled(kernel, _gain_squared(gain), "fan_in", "uniform")', f"{LAWS}::test_one_entry[glorot_uniform]"),
    M("lecun: fan_out for fan_in", SCALING, 'scaled(kernel, 1.0, "fan_in", "truncated_normal", exact_std)', 'scaled(kernel, 1.0, "fan_out", "truncated_normal", exact_std)', f"{LAWS}::test_one_entry[lecun_normal]"),
    M("fan_in_uniform: missing √3", SCALING, "scaled(kernel, 1.0 / 3.0,", "scaled(kernel, 1.0,", f"{LAWS}::test_one_entry[fan_in_uniform]"),
    M("fan_avg_normal: truncated", SCALING, 'scaled(kernel, 1.0, "fan_avg", "normal")', 'scaled(kernel, 1.0, "fan_avg", "truncated_normal")', f"{LAWS}::test_one_entry[fan_avg_normal]"),
    M("roles: fan_in ignored in the draw", VARIANCE, "and kernel.fan_in is None", "", f"{LAWS}::test_one_entry[he_normal(fan_in=7)]"),
    M("roles: groups ignored in the draw", VARIANCE, "return kernel.groups == 1 and", "return True and", f"{LAWS}::test_one_entry"),
    M("roles: transposed ignored in the draw", VARIANCE, "and not kernel.transposed and", "and", f"{LAWS}::test_one_entry[he_normal(transposed=True)]"),
    M("fans: swapped", FANS, "return Fans(backward, forward) if transposed", "return Fans(forward, backward) if transposed", f"{LAWS}::test_one_entry[he_normal(transposed=True)]"),
    M("fans: groups not divided", FANS, "size_out * receptive / groups", "size_out * receptive", f"{LAWS}::test_one_entry"),
    M("fans: receptive field left out", FANS, "size_in * receptive, size_out", "size_in, size_out", f"{REGISTRY}::test_fans_of_kernels"),
    M("fans: geometric mean is arithmetic", FANS, "math.sqrt(self.fan_in * self.fan_out)", "(self.fan_in + self.fan_out) / 2", f"{LAWS}::test_one_entry"),
    M("law: uniform bound without √3", LAW, "bound = math.sqrt(3) * stddev", "bound = stddev", f"{LAWS}::test_one_entry"),
    M("law: truncation not corrected", LAW, "parent = stddev / TRUNCATED_STDDEV", "parent = stddev", f"{LAWS}::test_one_entry"),
    M("law: truncated density not normalized", LAW, "_bell(x, centre, scale) / normal_mass(low, high)", "_bell(x, centre, scale)", f"{LAWS}::test_one_entry[truncated_normal(stddev=0.3)]"),
    M("law: orthogonal exponent", LAW, "** ((n - 3) / 2)", "** ((n - 1) / 2)", f"{LAWS}::test_one_entry[orthogonal]"),
    M("truncated_normal: exact_std multiplies", RANDOM, "stddev / _laws.truncated_moments(lower, upper)[1] if", "stddev * _laws.truncated_moments(lower, upper)[1] if", f"{LAWS}::test_one_entry"),
    M("normal: mean forgotten", RANDOM, "draw(key, shape, dtype) + jnp.asarray(mean, dtype)", "draw(key, shape, dtype)", f"{LAWS}::test_one_entry"),
    M("uniform_range: one-sided", RANDOM, "jax.random.uniform(key, shape, dtype, low, high)", "jax.random.uniform(key, shape, dtype, 0.0, high)", f"{LAWS}::test_one_entry"),
    M("parametrized: bounds of the wrong side", RANDOM, "max(lower, -5.3), min(upper, 5.3)", "-5.3, min(upper, 5.3)", f"{LAWS}::test_one_entry"),
    M("random_walk: He's gain", DERIVED, "math.exp(1.2 / (max(n, 6) - 2.4))", "1", f"{LAWS}::test_one_entry[random_walk]"),
    M("siren: first layer as the others", DERIVED, "1 / (3 * n) if is_first else", "2 / omega**2 if is_first else", f"{LAWS}::test_one_entry[siren(is_first=True)]"),
    M("siren: omega not squared", DERIVED, "2 / omega**2,", "2 / omega,", f"{LAWS}::test_one_entry[siren]"),
    M("spectral: no minimum", DERIVED, "min(1.0, fans.fan_out / fans.fan_in)", "fans.fan_out / fans.fan_in", f"{LAWS}::test_one_entry[spectral]"),
    M("mup: output as hidden", DERIVED, 'base_fan_in / n if role == "output" else 1.0', "1.0", f"{LAWS}::test_one_entry[mup(role=output)]"),
    M("scaled_for: gain not squared", DERIVED, "scaled(kernel, factor**2,", "scaled(kernel, factor,", f"{LAWS}::test_one_entry[scaled_for(activation=gelu)]"),
    M("orthogonal: householder without its signs", ORTHOGONAL, "return p * -signs.reshape(-1)[:m, None]", "return p", f"{LAWS}::test_haar_law[householder]"),
    M("orthogonal: the longer diagonal left out of VᵀV", ORTHOGONAL, "(gram + top * longer)", "gram", f"{LAWS}::test_orthogonality[40-40-householder]"),
    M("orthogonal: blocks share their numbers", ORTHOGONAL, "numbers[offset : offset + count]", "numbers[:count]", f"{LAWS}::test_every_reflection_has_numbers_of_its_own"),
    M("orthogonal: what is above the diagonal is reflected", ORTHOGONAL, "jnp.triu(x[:, :width])", "x[:, :width]", f"{LAWS}::test_orthogonality[40-40-householder]"),
    M("scaled_orthogonal: widening not corrected", ORTHOGONAL, 'widens = keep == "variance" and columns > rows > 0', "widens = False", f"{LAWS}::test_one_entry[scaled_orthogonal(activation=relu)]"),
    M("orthogonal: columns and rows exchanged", ORTHOGONAL, "p if rows <= columns else p.T", "p", f"{LAWS}::test_orthogonality[60-25-householder]"),
    M("sparse: one key for values and places", SPARSE, "values, places = jax.random.split(key)", "values = places = key", f"{LAWS}::test_sparse_units_have_k_random_incoming_weights"),
    M("sparse: k per input", SPARSE, "rank = jnp.argsort(order, axis=0)", "rank = jnp.argsort(order, axis=1)", f"{LAWS}::test_sparse_units_have_k_random_incoming_weights"),
    M("asymmetric: Beta(1, 1)", SPARSE, "positive = jnp.sqrt(1 - ", "positive = (1 - ", f"{LAWS}::test_randomized_asymmetric"),
    M("asymmetric: always the bias", SPARSE, "jax.random.randint(place, shape[-1:], 0, n + 1)", "jax.numpy.full(shape[-1:], n)", f"{LAWS}::test_randomized_asymmetric"),
    M("dirac: groups ignored", STRUCTURED, "row == column % (shape[-1] // groups)", "row == column", f"{LAWS}::test_dirac_keeps_a_signal_through_a_convolution"),
    M("hadamard: not normalized", STRUCTURED, "(math.sqrt(order) if size_in < size_out else 1.0)", "1.0", f"{LAWS}::test_hadamard_is_an_isometry_of_its_input"),
    M("looks_linear: not mirrored", STRUCTURED, "w = jnp.concatenate([w, -w], axis=0)", "w = jnp.concatenate([w, w], axis=0)", f"{LAWS}::test_looks_linear_network_is_linear"),
    M("fused: one key for all blocks", BLOCKS, "draw(jax.random.fold_in(key, index), shape)", "draw(key, shape)", f"{LAWS}::test_packed_kernel_is_its_blocks"),
    M("gain: forward for backward", GAIN, 'if convention == "forward" else _derivative', "if True else _derivative", f"{GAINS}::test_backward_gain_closed_forms[sin-1.327250600284575]"),
    M("trees: one key for all leaves", "parameters/_initialize.py", "path_words([assignment.leaf for assignment in assignments])", 'path_words(["" for _ in assignments])', f"{TREES}::test_a_leaf_does_not_depend_on_the_rest_of_the_tree"),
    M("layout: groups drawn from one key", BLOCKS, "return draw_stack(draw, key, kernel, self.stacks)", "return jnp.stack([draw(key, kernel)] * self.stacks)", f"{TREES}::test_packed_is_separate[flax]"),
    M("layout: kernels put back transposed", BLOCKS, "-3 if self.groups_on == \"in\" else -2)\n        w = w.reshape(*self.batch", "-2 if self.groups_on == \"in\" else -3)\n        w = w.reshape(*self.batch", f"{TREES}::test_packed_is_separate[flax]"),
    M("trees: a kernel of rank 3 is read as dense", "frameworks/_conventions.py", "is_dense = name in self.kernels and len(shape) == 2", "is_dense = name in self.kernels and len(shape) >= 2", f"{TREES}::test_axes_are_not_guessed"),
    M("trees: a leaf outside where needs a rule", "parameters/_rules.py", "        if not reset(leaf):\n", "        if False:\n", f"{TREES}::test_leaves_outside_where_need_no_rule_and_may_be_integers"),
    M("trees: nnx counts are parameters", "parameters/_leaves.py", "path in state or _is_key(value)", "_is_key(value)", f"{TREES}::test_keys_and_counts_of_nnx_are_state_and_need_no_rule"),
    M("parts: every layer has the first law", BLOCKS, 'else stack // self.groups', 'else 0', "tests/parameters/test_parts.py::test_each_stacked_layer_has_a_sigma_of_its_own[dense(batch=1)]"),
    M("weight norm: the scale stays 1", "parameters/_norms.py", "return norms.reshape(shape)", "return jnp.ones_like(norms).reshape(shape)", "tests/frameworks/test_reparametrized.py::test_the_kernel_under_weight_norm_of_linen_is_the_drawn_one[-1]"),
    M("torch: the padding row is drawn", "frameworks/_layout.py", "if self.padding is None:", "if True:", "tests/frameworks/test_options.py::test_the_padding_row_of_torch_is_zero_in_every_draw"),
    M("linen: boxed kernels are not seen", "frameworks/_linen.py", "unboxed(leaf) for name, leaf", "leaf for name, leaf", "tests/frameworks/test_options.py::test_boxed_kernels_have_the_fans_of_their_layer"),
    M("stacks: equal sizes are guessed", "frameworks/_common.py", "if len(fitting) != 1:", "if not fitting:", "tests/frameworks/test_layout.py::test_an_added_axis_that_the_sizes_do_not_show_is_not_guessed"),
    M("layouts: stacked kernels of torch are (in, out)", "frameworks/_conventions.py", "and self.kernel == (1, 0):", "and False:", "tests/frameworks/test_layout.py::test_axes_of_the_built_in_kinds[dense(inputs=2)-torch-in_axes1-out_axes1]"),
    M("hosts: torch in and out exchanged", TORCH, "    kernel=(1, 0),", "    kernel=(0, 1),", f"{TREES}::test_a_rule_and_a_layout_with_the_same_blocks_pack_once[torch]"),
    M("hosts: strides not counted", "frameworks/_common.py", "fans.fan_in / stride", "fans.fan_in", f"{ON_LINEN}::test_linen_transposed[strides1-False]"),
    M("hosts: Keras depthwise as a convolution", KERAS, 'return _layout("depthwise")', 'return _layout("conv")', f"{ON_KERAS}::test_keras[depthwise]"),
    M("hosts: torch's GRU is one gate", TORCH, '3 if "GRU" in name else 1', '1 if "GRU" in name else 1', f"{ON_TORCH}::test_gates_of_torch[input]"),
    M("hosts: a model that says nothing is guessed", "parameters/_leaves.py", "empty or any(", "any(", f"{ON_LINEN}::test_what_a_model_does_not_say_is_not_guessed"),
    M("layout: fans of the last block", LAYOUT, "self.kernels(shape)[1][0]", "self.kernels(shape)[1][-1]", f"{TREES}::test_fans_of_unequal_blocks_are_those_of_the_first"),
    M("preset: keras forgets with another gate", KERAS, "[0.0, 1.0, 0.0, 0.0]", "[1.0, 0.0, 0.0, 0.0]", f"{ON_KERAS}::test_default_draws_of_keras"),
    M("preset: gates by their inputs", TORCH, "shape[0] // len(layout.fused) if layout.fused else shape[1]", "shape[1]", f"{ON_TORCH}::test_default_draws_of_torch"),
    M("preset: torch's transposed bias by its inputs", TORCH, "layout.fan_out if layout.kind", "layout.fan_in if layout.kind", f"{ON_TORCH}::test_default_draws_of_torch"),
    M("preset: flax embeds by the number of tokens", "frameworks/_linen.py", "fan_in=shape[-1])", "fan_in=shape[0])", f"{ON_LINEN}::test_default_draws_of_linen[7]"),
    M("preset: haiku without its taps", "frameworks/_haiku.py", "math.prod(shape[:-2]) * shape[axis]", "shape[axis]", f"{ON_HAIKU}::test_default_draws_of_haiku"),
    M("preset: equinox counts strides", "frameworks/_common.py", "layout.strides > 1 and", "False and", f"{ON_EQUINOX}::test_default_draws_of_equinox"),
    M("rules: a variance may be random", "parameters/_statistics.py", "if is_random:", "if False:", "tests/parameters/test_statistics.py::test_a_variance_that_may_not_be_positive_is_refused_with_a_fix_that_works"),
    M("audit: any kernel counts as orthogonal", "auditing/_scales.py", "and _may_be_orthogonal(leaf))", "and True)", "tests/auditing/test_blind_spots.py::test_lecun_with_in_and_out_exchanged_is_found_in_both_directions"),
    M("errors: another case is not recognized", "errors.py", "if text in plain]", "if False]", "tests/test_pasted_fixes.py::test_another_case_and_initials_are_recognized"),
    M("audit: means are not looked at", "auditing/_departures.py", "if abs(sample.mean - law.mean) > distance:", "if False:", f"{AUDIT}::test_every_departure_from_a_rule_is_seen"),
    M("audit: bounds are not looked at", "auditing/_departures.py", "if one_law and (sample.low", "if False and (sample.low", f"{AUDIT}::test_every_departure_from_a_rule_is_seen"),
    M("audit: orthogonality is not looked at", "auditing/_departures.py", "if orthogonal and leaf.is_kernel", "if False and leaf.is_kernel", f"{AUDIT}::test_every_departure_from_a_rule_is_seen"),
    M("audit: what draws nothing by its σ alone", "auditing/_departures.py", "if not law.is_drawn:", "if False:", f"{AUDIT}::test_every_departure_from_a_rule_is_seen"),
    M("audit: copies with another sign are no copies", "auditing/_copies.py", "if abs(cosine) > 0.99", "if cosine > 0.99", f"{AUDIT}::test_one_key_used_twice_is_proportional"),
    M("audit: in and out are not exchanged", "auditing/_traps.py", "Fans(true.fan_out, true.fan_in)", "true", f"{AUDIT}::test_torch_reads_outputs_as_inputs_in_a_transposed_convolution"),
    M("population: members alike", "parameters/_population.py", "jax.random.fold_in(key, number)", "key", f"{POPULATION}::test_members_are_trees_drawn_alone_and_a_larger_population_begins_with_a_smaller"),
    M("search distribution: σ of what draws nothing", "parameters/_population.py", 'return values if moment == "mean" else jnp.zeros_like(values)', "return values", f"{POPULATION}::test_the_search_distribution_of_what_draws_nothing_and_of_blocks"),
    M("search distribution: blocks by the whole", "parameters/_population.py", "unfused.law(block, dtype)", "unfused.law(shape, dtype)", f"{POPULATION}::test_the_search_distribution_of_what_draws_nothing_and_of_blocks"),
    M("describe: σ of the real part", "initializers/_describe.py", "drawn.std()", "values.std()", f"{REGISTRY}::test_the_sigma_of_a_complex_draw_is_of_its_modulus"),
    M("describe: another factor of inputs", "initializers/_describe.py", "shape[axis] * 4.0**power", "shape[axis] * 3.0**power", f"{REGISTRY}::test_the_worked_example"),
    M("audit: copies along the last axis only", "auditing/_copies.py", "for axis in range(raw.ndim):", "for axis in range(raw.ndim - 1, raw.ndim):", f"{LEAVES}::test_equal_shards_along_every_axis"),
    M("audit: equal entries never by chance", "auditing/_copies.py", "entries * math.log(max(equal, 1 / size**2))", "entries * math.log(1 / size**2)", f"{LEAVES}::test_what_repeats_by_chance_or_on_purpose_is_no_copy"),
    M("audit: tied leaves duplicated", "auditing/_copies.py", "if np.may_share_memory(one.values, other.values) or", "if", f"{LEAVES}::test_leaves_that_share_memory_or_are_no_draws_are_not_duplicated"),
    M("audit: smooth tables duplicated", "auditing/_copies.py", "return not _is_smooth(leaf) and", "return", f"{LEAVES}::test_leaves_that_share_memory_or_are_no_draws_are_not_duplicated"),
    M("audit: leftover memory not seen", "auditing/_scales.py", "if top > OUTSIZED:", "if top > 1e40:", f"{LEAVES}::test_entries_out_of_all_proportion"),
    M("audit: junk beside small entries", "auditing/_scales.py", "elif top > ratio * middle:", "elif False:", f"{LEAVES}::test_entries_out_of_all_proportion"),
    M("audit: zero scales not seen", "auditing/_audit.py", "if is_scale(leaf)], least=1", "if is_scale(leaf)], least=99", f"{LEAVES}::test_scales_that_are_mostly_zero"),
    M("audit: σ² leaves the floats", "auditing/_leaves.py", "scaled = entries / largest", "scaled, largest = entries, 1.0", f"{LEAVES}::test_float64_kernels_of_any_size"),
    M("audit: complex σ of the real part", "auditing/_leaves.py", "squares = np.abs(scaled - mean) ** 2", "squares = np.real(scaled - mean) ** 2", f"{LEAVES}::test_moments_of_complex_numbers_against_scipy"),
    M("audit: functions not checked", "auditing/_functions.py", "if abs(value - usual.mean()) > limit:", "if False:", f"{LEAVES}::test_rules_that_are_functions_are_checked"),
    M("audit: functions with a normal quantile", "auditing/_functions.py", "terms = 1 + 2 / 3 * cosine**2 + 8 / 15 * cosine**4", "terms = 1 + 2 / 3 * cosine**2", f"{LEAVES}::test_students_quantile_is_scipys"),
    M("audit: whole orthogonal gates", "auditing/_scales.py", "if not together or", "if True or", f"{AUDIT}::test_gates_drawn_one_by_one_are_healthy"),
    M("audit: gates of their own reported", "auditing/_scales.py", "if not together or _has_orthogonal_rows(rows[:, :size]):", "if not together:", f"{AUDIT}::test_gates_drawn_one_by_one_are_healthy"),
    M("warnings: at a line of jinit", "_warn.py", "frame.f_code.co_filename.startswith(_HERE)", "False", "tests/test_warn.py::test_a_warning_names_the_line_of_the_user"),
    M("warnings: a neighbour whose name begins alike is jinit", "_warn.py", "{os.sep}", "", "tests/test_warn.py::test_a_neighbour_whose_name_begins_alike_is_a_user"),
    M("grid: unknown fields reach Python's message", "sweep/_values.py", "values.keys() - set(names)", "()", "tests/sweep/test_grid_and_plan.py::test_an_unknown_field_names_the_one_that_was_meant"),
    M("audit: the first law, not the nearest", "auditing/_traps.py", "best = min(distances, key=lambda item: item[0])", "best = next((item for item in distances if item[0] < tolerance), distances[0])", f"{PASTED}::test_the_nearest_of_two_laws_within_one_tolerance"),
    M("audit: a fix without its layers", "auditing/_fixes.py", 'return f"{host}, layers={written}"', "return host", f"{PASTED}::test_every_fix_runs_when_pasted[scale]"),
    M("audit: a fix with an unused pattern", "auditing/_fixes.py", "if self.leaves > 1 else", "if True else", f"{PASTED}::test_every_fix_runs_when_pasted[symmetric]"),
    M("audit: names are patterns", "auditing/_fixes.py", "glob.escape(path)", "path", f"{PASTED}::test_every_fix_runs_when_pasted"),
    M("verdict: a branch at 0 vanishes", "probes/_verdict.py", "medians = medians.without(around)", "pass", f"{PURPOSE}::test_calibrations_that_start_branches_at_0_are_healthy[relu-fixup-1]"),
    M("verdict: the gradient of a gated branch vanishes", "probes/_verdict.py", "    m = m.without(gated(m))\n    if len(m.names) < 2:", "    if len(m.names) < 2:", f"{PURPOSE}::test_calibrations_that_start_branches_at_0_are_healthy[relu-skipinit-1]"),
    M("verdict: zeros on the only path are on purpose", "probes/_purpose.py", "around = nothing & later", "around = nothing", f"{PURPOSE}::test_zeros_on_the_only_path_are_not_healthy[relu-zero0]"),
    M("verdict: φ(0) passes as the stream", "probes/_purpose.py", "is_odd = activation is not None and not at_zero(activation)", "is_odd = True", f"{PURPOSE}::test_zeros_on_the_only_path_are_not_healthy[sigmoid-zero3]"),
    M("verdict: small inputs vanish", "probes/_verdict.py", "m.second_moment[0] < SMALL and", "False and", f"{PURPOSE}::test_inputs_whose_squares_leave_float32_are_named"),
    M("calibration: around anything", "calibrate/_registry.py", 'object.__setattr__(self, "initializer", initializers.get(self.initializer))', "pass", "tests/calibrate/test_common.py::test_a_calibration_around_no_initializer_is_refused[5]"),
    M("audit: depth-scaled branches too small", "auditing/_scales.py", "return own < 0 and number > 1 and", "return False and", f"{LEAVES}::test_depth_scaled_branches_are_healthy_and_a_single_small_kernel_is_not"),
    M("checkpoint: Fortran's order", "auditing/_checkpoints.py", "flat.reshape(shape[::-1]).T if fortran", "flat.reshape(shape) if fortran", f"{CLI}::test_npz_files_of_numpy_are_read_as_numpy_reads_them"),
    M("checkpoint: a name twice", "auditing/_checkpoints.py", "if names.count(name) > 1}", "if names.count(name) > 2}", f"{CHECKPOINTS}::test_broken_safetensors_are_refused"),
    M("checkpoint: arrays overlap", "auditing/_checkpoints.py", "if begin < place:", "if False:", f"{CHECKPOINTS}::test_broken_safetensors_are_refused[header2-overlaps]"),
    M("checkpoint: bytes of no array", "auditing/_checkpoints.py", "if entries and place < size:", "if False:", f"{CHECKPOINTS}::test_broken_safetensors_are_refused"),
    M("checkpoint: a member is read to its end", "auditing/_checkpoints.py", "if rest != size:", "if rest < size:", f"{CHECKPOINTS}::test_one_unreadable_array_does_not_hide_the_others"),
    M("checkpoint: one broken array hides the others", "auditing/_checkpoints.py", "broken.append(_unreadable(stored.name, error))", "raise", f"{CHECKPOINTS}::test_one_unreadable_array_does_not_hide_the_others"),
    M("checkpoint: float8 of another format", "auditing/_checkpoints.py", '"F8_E4M3": jnp.float8_e4m3fn', '"F8_E4M3": jnp.float8_e5m2', f"{CHECKPOINTS}::test_safetensors_of_every_dtype[F8_E4M3]"),
    M("checkpoint: bfloat16 as float16", "auditing/_checkpoints.py", '"BF16": jnp.bfloat16', '"BF16": np.float16', f"{CLI}::test_audit_reads_safetensors_and_refuses_everything_else"),
    M("hadamard: sum of a leading block", STRUCTURED, "- _hadamard_sum(left, columns - top)", "+ _hadamard_sum(left, columns - top)", f"{LAWS}::test_laws_of_kernels_that_draw_nothing_are_those_of_their_entries[1.0-shape3]"),
    M("sharded: parts of a product", "initializers/_sharding.py", "if definition.whole else sharding", "if False else sharding", f"{SHARDING}::test_sharded_draws"),
    M("sharded: types without their sharding", "initializers/_sharding.py", "if explicit:", "if False:", f"{SHARDING}::test_sharded_draws"),
    M("table: six points", "theory/_table.py", "_POINTS = 12", "_POINTS = 6", f"{MOMENTS}::test_what_is_not_resolved_is_nan_and_never_a_wrong_number"),
    M("table: places counted from 0", "theory/_table.py", "lagrange(distance + _BESIDE, _POINTS)", "lagrange(place - below + _BESIDE, _POINTS)", f"{MOMENTS}::test_float32_loses_few_digits"),
    M("holm: Bonferroni of the rest only", TESTS, "(len(p) - rank) * float(p[index])", "(len(p) - rank - 1) * float(p[index])", f"{STATS}::test_holm_against_the_definition"),
    M("paired: gaps tie to the last bit only", RANKS, "size - start <= max(own, error)", "size - start <= 0.0", f"{RANKED}::test_a_tie_is_a_matter_of_the_pair"),
    M("paired: a tie is a matter of the whole arm", PAIRED, "sizes = np.maximum(np.abs(first), np.abs(second))", "sizes = np.full(first.shape, max(np.abs(first).max(), np.abs(second).max()))", f"{RANKED}::test_a_tie_is_a_matter_of_the_pair"),
    M("ties: a thousand times too wide", RANKS, "size - start <= max(own, error)", "size - start <= 1000 * max(own, error)", f"{RANKED}::test_a_tie_is_a_matter_of_the_pair"),
    M("signed ranks: zeros keep their ranks", RANKS, "gaps = gaps[gaps != 0]\n    if not gaps.size:\n        return 1.0, 1.0", "if not gaps.size:\n        return 1.0, 1.0", f"{RANKED}::test_signed_ranks_are_exact_with_zeros_and_ties"),
    M("signed ranks: ties have the law of no ties", RANKS, "below = _law(tuple(ranks.tolist()))\n    # The", "below = _law(tuple(range(2, 2 * len(gaps) + 2, 2)))\n    # The", f"{RANKED}::test_signed_ranks_are_exact_with_zeros_and_ties"),
    M("hodges-lehmann: one average too far in", RANKS, "else (reached - 1) // 2", "else (reached - 1) // 2 + 1", f"{RANKED}::test_hodges_lehmann_inverts_the_test"),
    M("studentized mean: resamples without their own error", STUDENT, "mean / error", "mean / error.mean()", f"{RANKED}::test_the_studentized_mean_is_the_bootstrap_t_of_resamples"),
    M("studentized mean: a long tail is no guard", STUDENT, "reaches[0] > 1.15 * reaches[1]", "reaches[0] > 1e9 * reaches[1]", f"{RANKED}::test_a_long_tail_against_a_claim_guards_it"),
    M("studentized mean: an end without spread stays infinite", STUDENT, "if not self.rarely_spread(side):", "if True:", f"{BOUNDED}::test_a_few_values_apart_leave_both_ends_finite"),
    M("studentized mean: the guard may help a claim", STUDENT, "both = [mean] if seen is mean.values else [mean, StudentizedMean", "both = [mean] if seen is mean.values else [StudentizedMean", f"{BOUNDED}::test_the_guard_never_makes_a_claim_easier"),
    M("bounded mean: no value beyond those seen", "stats/_bounded_mean.py", "np.append(different, reach)", "np.append(different, different[-1])", f"{BOUNDED}::test_two_values_have_the_bound_of_clopper_and_pearson"),
    M("bounded mean: equal values have one weight", "stats/_bounded_mean.py", "standard_gamma((*counts, 1)", "standard_gamma((*(1,) * len(counts), 1)", f"{BOUNDED}::test_two_values_have_the_bound_of_clopper_and_pearson"),
    M("store: what halving dropped stays behind", "_database/_whole.py", "    columns |= _marks.marked(marks, columns)\n", "", f"{MARKS}::test_what_halving_dropped_comes_back"),
    M("store: a look that was not completed counts", "_database/_marks.py", 'newest.state != "complete"', "False", f"{MARKS}::test_a_look_that_was_not_completed_was_not_made"),
    M("grouped resamples: every group has the same chance", "stats/_grouped.py", "multinomial(n, group_sizes(n) / n,", "multinomial(n, np.full(len(group_sizes(n)), 1 / len(group_sizes(n))),", f"{MANY}::test_the_law_of_grouped_resamples_is_that_of_single_values[normal]"),
    M("hodges-lehmann: partners are counted twice", RANKS, "first = np.maximum(first, np.arange(values.size))", "first = np.maximum(first, 0)", f"{MANY}::test_order_statistics_of_averages_are_those_of_all_averages"),
    M("equivalence: one of two tests", PAIRED, "max(*ranks, mean.tails(margin)[0]", "max(ranks[1], mean.tails(margin)[1] * 0", f"{RANKED}::test_a_margin_makes_equivalence_a_verdict_of_two_tests"),
    M("noether: 3 forgotten", "stats/_power.py", "quantile**2 / (3 * edge**2)", "quantile**2 / (edge**2)", f"{RANKED}::test_further_pairs_give_the_signed_rank_test_its_power"),
    M("kaplan-meier: halves multiplied", TIMES, "share = _share(events, at_risk)\n        greenwood", "share = np.cumprod(1 - events / at_risk)\n        greenwood", f"{SURVIVAL}::test_the_median_counts_arrivals_and_does_not_multiply"),
    M("compare times: censored runs arrive", TIMES, "censored or (None, None), strict=True", "(None, None), strict=True", f"{SURVIVAL}::test_log_rank_of_censored_arms"),
    M("optimality gap: what is above makes up", "stats/_location.py", 'np.maximum(target - reals(scores, "scores"), 0.0)', 'target - reals(scores, "scores")', f"{RANKED}::test_optimality_gap"),
    M("bootstrap: equal values have an interval", BOOTSTRAP, "return Interval(estimate, math.nan, math.nan)", "return Interval(estimate, estimate, estimate)", f"{RANKED}::test_few_or_equal_gaps_have_no_finite_interval"),
    M("verdict: the mean has no say", "results/_verdict.py", "min(max(result.p_value, mean), within)", "min(result.p_value, within)", f"{VERDICTS}::test_a_mean_that_is_not_settled_settles_nothing"),
    M("verdict: direction of the mean", "results/_verdict.py", "side = math.copysign(1.0, result.difference.estimate)", "side = math.copysign(1.0, result.mean.estimate)", f"{VERDICTS}::test_worse_on_most_seeds_and_better_on_average_is_mixed"),
    M("compare: runs are pairs", "results/_comparison.py", "*(averaged(values, seeds.tolist()) for values in both)", "*both", f"{VERDICTS}::test_runs_of_one_seed_are_one_observation"),
    M("summaries: runs are resampled", "results/_summary.py", "median = bootstrap(per_seed(rows, values))", "median = bootstrap(values)", f"{VERDICTS}::test_summaries_resample_seeds"),
    M("divergence: runs are counted as seeds", "results/_summary.py", "wilson(float(shares.sum()), len(shares))", "wilson(int(diverged.sum()), len(rows))", f"{VERDICTS}::test_summaries_resample_seeds"),
    M("tuned: on the same seeds", "results/_tuned.py", "choice[1 - column % 2]", "choice[column % 2]", f"{VERDICTS}::test_the_best_of_many_rates_is_no_evidence"),
    M("blown up: as if healthy", "results/_metrics.py", "values > BLOWN_UP * max(1.0, least)", "values > np.inf", f"{VERDICTS}::test_runs_with_an_absurd_loss_count_as_diverged"),
    M("arms without numbers leave", "results/_comparison.py", "if not undefined(rows, question.metric)", "if not any(undefined(rows.select(**{question.across: a}), question.metric) for a in unique(rows[question.across]))", f"{VERDICTS}::test_an_arm_without_numbers_does_not_leave_in_silence"),
    M("plan: seeds always suffice", "stats/_power.py", "math.floor(1 + math.log2(comparisons / alpha)) + 1", "1", f"{VERDICTS}::test_a_plan_says_before_training_that_seeds_cannot_settle_the_comparisons"),
    M("errors: a span of time is a number", "errors.py", 'or type(value).__name__ == "timedelta64"', "or False", "tests/test_hostile.py::test_hostile_values_are_refused_by_name"),
    M("errors: an array is one number", "errors.py", 'if getattr(value, "shape", ()) != ():\n            raise wrong_type(what, value, f"one number', 'if False:\n            raise wrong_type(what, value, f"one number', "tests/test_hostile.py::test_hostile_values_are_refused_by_name"),
    M("errors: a choice may be an array", "errors.py", "not isinstance(value, str) or value not in allowed", "value not in allowed", "tests/test_hostile.py::test_hostile_values_are_refused_by_name"),
    M("trees: keys that cannot be sorted end in JAX", "parameters/_leaves.py", "except ValueError:  # JAX sorts", "except KeyError:  # JAX sorts", "tests/test_hostile.py::test_hostile_values_are_refused_by_name"),
    M("report: options of another result are ignored", "report/_json.py", "if given and _kind(result) != kind:", "if False:", "tests/report/test_text.py::test_an_option_of_another_kind_of_result_is_refused"),
    M("length: growth by a constant is lost", "theory/_fixed_points.py", "100 * rounding, rounding)", "0 * rounding, 0 * rounding)", f"{FIELD}::test_lengths_that_grow_for_ever_have_no_depth_scale[gelu-1.0]"),
    M("holm: not monotone", TESTS, "max(running, min(1.0,", "max(0.0, min(1.0,", f"{STATS}::test_holm_against_the_definition"),
    M("wilcoxon: one-sided", TESTS, "return min(1.0, 2 * min(tails))", "return min(tails)", f"{STATS}::test_p_value_is_scipys"),
    M("effect size: no small-sample factor", EFFECTS, "small_sample * mean / spread", "mean / spread", f"{STATS}::test_effect_size_in_closed_form_and_without_bias"),
    M("probability of improvement: ties are losses", EFFECTS, "np.where(first == arms[1], 0.5, first > arms[1])", "(first > arms[1]) * 1.0", f"{STATS}::test_probability_of_improvement_is_mann_whitneys"),
    M("bootstrap: tails not widened", BOOTSTRAP, "math.sqrt(size / freedom) * t", "1.0 * t * 0 + 1.959964", f"{STATS}::test_bootstrap_agrees_with_scipy[mean-percentile]"),
    M("bootstrap: strata mixed", BOOTSTRAP, "if strata is None:", "if True:", f"{STATS}::test_strata_keep_their_sizes_as_in_scipys_many_samples[percentile]"),
    M("bca: no acceleration", BOOTSTRAP, "cubes / (6 * squares**1.5) if 0 < squares", "0.0 if 0 < squares", f"{STATS}::test_bootstrap_agrees_with_scipy[std-BCa]"),
    M("iqm: a quarter in all", "stats/_location.py", "trimmed_mean(values, axis, cut=0.25)", "trimmed_mean(values, axis, cut=0.125)", f"{STATS}::test_trimmed_means_are_scipys"),
    M("kaplan-meier: those who left stay at risk", TIMES, 'np.searchsorted(np.sort(times), at, side="left")', "np.searchsorted(np.sort(times[arrived]), at)", f"{SURVIVAL}::test_kaplan_meier_of_a_textbook"),
    M("restricted mean: runs that never arrive left out", TIMES, "at, [float(horizon)]])", "at, at[-1:]])", f"{SURVIVAL}::test_runs_that_never_arrive_stay_in"),
    M("restricted mean: variance without the area", TIMES, "(beyond**2 * term)", "(beyond * term)", f"{SURVIVAL}::test_restricted_mean_without_censoring_is_the_mean"),
    M("critical difference: √2 forgotten", "stats/_ranks.py", "/ math.sqrt(2)", "/ 1", f"{RATES}::test_friedman_and_nemenyi_of_a_textbook"),
    M("profile: at least instead of above", "stats/_profiles.py", "scores[:, :, None] > thresholds", "scores[:, :, None] >= thresholds", f"{RATES}::test_performance_profile_is_the_share_above"),
    M("variance: residual not taken off", "stats/_variance.py", "(mean_squares[:, 0] - residual) / columns", "mean_squares[:, 0] / columns", f"{RATES}::test_variance_components_are_the_analysis_of_variances"),
    M("near duplicates: a unit is near itself", "probes/_symmetry.py", "& ~jnp.eye(len(squares), dtype=bool)", "", f"{SYMMETRY}::test_rank_and_duplicates_against_numpy"),
    M("near duplicates: projections all alike", "probes/_symmetry.py", "rng.normal(size=(projections, len(part)))", "np.ones((projections, len(part)))", f"{SYMMETRY}::test_projections_find_near_duplicates[1e-25-0.3]"),
    M("coordinate check: sum instead of mean", "probes/_coordinates.py", "(gap.astype(jnp.float32) ** 2).mean()", "(gap.astype(jnp.float32) ** 2).sum()", f"{SYMMETRY}::test_standard_parameterization_under_adam_explodes_with_width"),
    M("moments: cubes forgotten", "theory/_moments.py", "+ 4 * zero * d3 ", "", f"{MOMENTS}::test_every_activation_against_scipy[0.001-softplus]"),
    M("moments: growth without the tilt", "theory/_moments.py", "growth + zero * (tilt +", "growth + 0 * (tilt +", f"{MOMENTS}::test_a_kink_at_0_of_an_activation_that_is_not_0_there"),
    M("table: kinks are not cut", "theory/_tabulate.py", "np.concatenate([kinks, -powers", "np.concatenate([[0.0], -powers", f"{MOMENTS}::test_a_users_callable_with_kinks_nobody_named"),
    M("pair: inner cuts of one input only", "theory/_pair.py", "(sign * breaks / s_2 + small * r) / large]", "(breaks / s_1 - small * r) / large]", f"{MOMENTS}::test_cross_moments_closed_forms"),
    M("pair: large and small of the angle swapped", "theory/_pair.py", "large, small = jnp.maximum(a, b), jnp.minimum(a, b)", "large, small = a, b", f"{MOMENTS}::test_cross_moments_closed_forms[0.1]"),
    M("fixed point: downwards takes the first", "theory/_fixed_points.py", "len(nodes) - 1 - xp.argmax(below[::-1])", "xp.argmax(below)", f"{FIELD}::test_a_length_falls_and_rises_to_the_same_fixed_point"),
    M("xi_q: of the slope of the correlation map", "theory/_fixed_points.py", "np.inf, _depth(growth)", "np.inf, _depth(slope)", f"{FIELD}::test_depth_scales_against_scipy[tanh-1.0-0.22360679774997896]"),
    M("moments: the kink at 0 forgotten in the growth", "theory/_moments.py", "(kink / s if kink else 0.0)", "0.0", f"{MOMENTS}::test_a_kink_at_0_of_an_activation_that_is_not_0_there"),
    M("table: steep activations in units of gentle ones", "theory/_tabulate.py", "_CHANGE * np.abs(slope).max()", "9 * np.abs(slope).max()", f"{MOMENTS}::test_a_steep_activation_is_the_gentle_one_in_another_unit[300.0]"),
    M("table: columns known where the rules part", "theory/_tabulate.py", "fine[np.maximum.accumulate(differ, 0)] = np.nan", "pass", f"{MOMENTS}::test_what_is_not_resolved_is_nan_and_never_a_wrong_number"),
    M("table: the limit at 0 of another column", "theory/_tabulate.py", "[curvature / 2, square, third", "[curvature, square, third", f"{MOMENTS}::test_moments_at_no_variance_are_those_of_the_taylor_series"),
    M("table: symmetric rounding errors go on", "theory/_tabulate.py", "np.where(vanishes, 0.0, terms)", "terms", f"{MOMENTS}::test_beyond_the_table_the_power_law_goes_on"),
    M("fixed point: unknown lengths count as settled", "theory/_fixed_points.py", "(nodes > start) & ~(at_nodes > -rounding)", "(nodes > start) & (at_nodes <= -rounding)", f"{FIELD}::test_where_moments_are_unknown_nothing_is_claimed"),
    M("correlations: the fixed point does not move", "theory/_fixed_points.py", "gap_tangent = -by_arguments[0] / by_gap[0]", "gap_tangent = 0 * by_arguments[0]", f"{FIELD}::test_depth_scales_have_derivatives_in_every_phase[tanh-2.0-0.3]"),
    M("depth scales: inf has no derivative", "theory/_fixed_points.py", "xp.abs(xp.where(critical, 0.5, slope))", "xp.abs(slope)", f"{FIELD}::test_infinite_depth_scales_have_the_derivative_0_and_not_nan"),
    M("critical line: where lengths run away too", "theory/_edge_of_chaos.py", "& (growth <= 1 + 1e-3 * np.minimum(q, 1e-3))", "", f"{FIELD}::test_isometry_looks_at_large_lengths_and_at_their_stability"),
    M("fixed points: small ones are not looked for", "theory/_stability.py", "np.geomspace(1e-13, 1e-5, 100)", "np.array([1e-5])", f"{FIELD}::test_small_fixed_points_are_found"),
    M("recommend: nothing through is nothing lost", "advise/_recommend.py", "if math.isfinite(score) and not lost else", "if math.isfinite(score) or lost else", "tests/advise/test_recommend.py::test_initializers_that_let_nothing_through_are_last"),
    M("critical rate: half", "theory/_edge_of_chaos.py", "2 * at.slope_second / (q * at.curvature_second)", "at.slope_second / (q * at.curvature_second)", f"{FIELD}::test_correlations_of_tanh_on_its_edge_fall_as_beta_over_l"),
    M("residual: E h E φ forgotten", "theory/_propagation.py", " + 2 * stream.mean * branch.mean", "", f"{PREDICT}::test_predictions_against_sampled_networks[relu-glorot_normal-zeros-options4]"),
    M("residual: skip carries no gradient", "theory/_propagation.py", "xp.logaddexp(at_h, before) if architecture.residual else before", "before", f"{PREDICT}::test_predictions_against_sampled_networks[relu-glorot_normal-zeros-options4]"),
    M("layer norm: slope not divided by the deviation", "theory/_propagation.py", "slope = slope / xp.maximum(q, _TINY)", "slope = slope * 1.0", f"{PREDICT}::test_predictions_against_sampled_networks[relu-lecun_normal-zeros-options6]"),
    M("fluctuations: backward without χ² of the weights", "theory/_finite_width.py", "3 * at.slope_fourth", "1 * at.slope_fourth", f"{WIDTH}::test_fluctuations_against_sampled_networks[relu-1.4142135623730951-0.0-False]"),
    M("fluctuations: orthogonal as Gaussian", "theory/_finite_width.py", "if orthogonal:\n        after", "if False:\n        after", f"{WIDTH}::test_fluctuations_against_sampled_networks[relu-1.4142135623730951-0.0-True]"),
    M("fluctuations: what narrows keeps its length", "theory/_finite_width.py", "xp.maximum(x - n, 0) / (x + 2)", "0 * x", f"{WIDTH}::test_fluctuations_of_networks_that_narrow_and_widen[True-identity-1.0-0.0]"),
    M("fluctuations: fixed biases", "theory/_finite_width.py", "kept * (1 - own_b**2 / q).clip(0) ** 2", "kept * 1.0", f"{WIDTH}::test_fluctuations_of_networks_that_narrow_and_widen[True-tanh-1.4-0.2]"),
    M("critical bias: of the first point, stable or not", "theory/_edge_of_chaos.py", "float(_bias_variance(table, points[best]))", "float(_bias_variance(table, points[0]))", f"{FIELD}::test_the_bias_of_the_first_critical_point_that_is_stable"),
    M("isometry: one unknown moment hides all", "theory/_isometry.py", "np.nanmax(fourth, initial=0.0)", "fourth.max(initial=0.0)", f"{FIELD}::test_isometry_where_some_moments_on_the_line_are_not_known"),
    M("isometry: Gaussian as orthogonal", "theory/_isometry.py", 'ratio - 1 if weights == "orthogonal" else ratio', "ratio - 1", f"{WIDTH}::test_jacobian_spectra_against_sampled_products[identity-gaussian-1.0-1.0-10]"),
    M("ntk: last layer's kernel only", "theory/_kernels.py", "(nngp, nngp + w * slope * ntk)", "(nngp, nngp)", f"{WIDTH}::test_kernels_closed_forms"),
    M("lsuv: divides by the variance", "calibrate/_moments.py", "jax.lax.rsqrt(variance) ** powers", "(1 / variance) ** powers", f"{CALIBRATE}::test_lsuv_gives_unit_variance_and_keeps_orthogonality[relu]"),
    M("lsuv: whole steps where layers share a kernel", "calibrate/_moments.py", "jax.lax.rsqrt(variance) ** powers[place]", "jax.lax.rsqrt(variance)", f"{SHARED}::test_lsuv_sets_the_variance_over_all_calls[8-0.1]"),
    M("within layer: whole steps where layers share a kernel", "calibrate/_moments.py", "power = 1 / len(calls[kernels[index]])", "power = 1", f"{SHARED}::test_within_layer_standardizes_units_over_all_calls[8]"),
    M("between layers: a shared kernel counts once", "calibrate/_rates.py", "(counts * log).sum() / jnp.maximum((counts * able)", "log.sum() / jnp.maximum((able)", f"{SHARED}::test_between_layers_gives_each_kernel_one_rate_and_keeps_the_size"),
    M("analytic: a shared kernel is bent by its later calls", "calibrate/_analytic.py", "[own[0] for own in", "[own[-1] for own in", f"{SHARED}::test_analytic_tells_what_is_linear_in_a_shared_kernel[2]"),
    M("within layer: calls that differ vary", "calibrate/_moments.py", "beyond_rounding(varying, jnp.abs", "beyond_rounding(deviation, jnp.abs", f"{SHARED}::test_units_that_vary_from_call_to_call_alone_keep_their_kernel"),
    M("between layers: biases stay", "calibrate/_rates.py", "bias: jnp.exp(grown[own].mean())", "bias: 1.0", f"{CALIBRATE}::test_between_layers_gives_one_rate_and_keeps_the_function"),
    M("gradient quotient: no Hessian", "calibrate/_learned.py", "(g - hg) / (g", "(g) / (g", f"{CALIBRATE}::test_the_gradient_quotient_of_a_quadratic_in_closed_form"),
    M("pair: the root of no gap is differentiated", "theory/_pair.py", "b = jnp.sqrt(jnp.maximum(gap / 2, floor**2))", "b = jnp.maximum(jnp.sqrt(gap / 2), floor)", f"{WIDTH}::test_kernels_jit_and_have_derivatives[tanh]"),
    M("kernels: polynomial for float32 only", "theory/_kernels.py", "jnp.float32 else 21", "jnp.float32 else 9", f"{WIDTH}::test_kernels_closed_forms"),
    M("kernels: erf's slope of an input with itself cancels", "theory/_kernels.py", "jnp.where(jnp.eye(len(k), dtype=bool), least, rest)", "rest", f"{WIDTH}::test_kernels_of_large_inputs_keep_their_slope"),
    M("residual: V keeps the mean", "theory/_propagation.py", "0 * branch.mean", "branch.mean", f"{RESIDUAL}::test_residual_mlps_measure_what_theory_says[relu-0.5]"),
    M("residual: branch scale not squared", "theory/_propagation.py", "slope = scale**2 * at.slope_second", "slope = scale * at.slope_second", f"{RESIDUAL}::test_relu_branches_that_end_linearly_grow_by_a_closed_form[0.5-1.3]"),
    M("fixup: last kernel as drawn", "calibrate/_identity.py", '{branch[-1]: roles["last"]}', "{branch[-1]: 1.0}", f"{IDENTITY}::test_fixup_scales_inner_kernels_and_adds_nothing[2]"),
    M("analytic: drawn pre-activations beside biases", "calibrate/_analytic.py", "left = target - jnp.mean(", "left = target - 0 * jnp.mean(", f"{ANALYTIC}::test_drawn_calibration_agrees_with_theory_and_counts_each_bias"),
    M("analytic: drawn signs are one", "calibrate/_analytic.py", "w * jax.random.rademacher(jax.random.fold_in(of_signs, i), w.shape, w.dtype)", "w", f"{ANALYTIC}::test_analytic_calibration_of_a_residual_network_is_its_recursion[1.0]"),
    M("analytic: biases not counted", "calibrate/_analytic.py", "(target - biases) /", "target /", f"{ANALYTIC}::test_drawn_calibration_agrees_with_theory_and_counts_each_bias"),
    M("analytic: the batch counts for all layers", "calibrate/_analytic.py", "        square = entering\n", "", f"{ANALYTIC}::test_analytic_calibration_leaves_what_theory_does_not_know"),
    M("analytic: any kernel is linear", "calibrate/_analytic.py", "apart <= 1e-3 * size, weights", "apart <= jnp.inf, weights", f"{ANALYTIC}::test_analytic_calibration_knows_what_a_kernel_does_not_decide"),
    M("lsuv: rounding is a variance", "calibrate/_moments.py", "varies = beyond_rounding(jnp.sqrt(variance), size, dtype) |", "varies = (variance > 0) |", f"{CALIBRATE}::test_rounding_is_no_variance[lsuv-3]"),
    M("within layer: rounding is a deviation", "calibrate/_moments.py", "varies = beyond_rounding(varying, jnp.abs(mean) + deviation, kernel.dtype)", "varies = varying > 0", f"{CALIBRATE}::test_rounding_is_no_variance[within_layer-3]"),
    M("within layer: heads are one unit", "calibrate/_moments.py", "return tuple(bias.shape) if several else (bias.size,)", "return tuple(bias.shape)[-1:]", f"{CALIBRATE}::test_within_layer_of_attention_and_of_equinox_convolutions"),
    M("between layers: dead layers count", "calibrate/_rates.py", "able = (rates > 0) & jnp.isfinite(rates)", "able = rates == rates", f"{CALIBRATE}::test_between_layers_leaves_a_layer_of_zeros"),
    M("antisymmetric: nothing copied", "calibrate/_identity.py", 'plus[rest] if part == "minus"', 'leaf if part == "minus"', f"{IDENTITY}::test_an_antisymmetric_network_starts_at_zero_with_the_same_tangent_kernel"),
    M("half precision: drawn in the dtype itself", "initializers/_definition.py", "self.draw(key, shape, wide(dtype)).astype(dtype)", "self.draw(key, shape, dtype)", f"{HALF}::test_it_is_the_float32_draw_rounded_last[normal-bfloat16]"),
    M("half precision: a factor rounded before it multiplies", "initializers/_base.py", "computed = wide(dtype)", "computed = dtype", f"{HALF}::test_it_is_the_float32_draw_rounded_last"),
    M("half precision: rounded towards 0", "initializers/_definition.py", "self.draw(key, shape, wide(dtype)).astype(dtype)", "(self.draw(key, shape, wide(dtype)) * (1 - 2**-9)).astype(dtype)", f"{HALF}::test_moments_tails_and_kolmogorov"),
    M("complex law: JAX's constant taken for the true one", LAW, "math.sqrt(1 - 4 * math.exp(-4) / (1 - math.exp(-4)))", "0.95311164380491208", f"{LAWS}::test_complex_truncated_draws_have_the_variance_that_is_stated"),
    M("complex draw: exact only by name", VARIANCE, "return drawn / jnp.asarray(ratio, dtype)", "return drawn", f"{LAWS}::test_complex_truncated_draws_have_the_variance_that_is_stated[variance_scaling]"),
    M("complex law: density of a real law", LAW, "if self.is_complex and self.distribution", "if False and self.distribution", f"{LAWS}::test_the_density_of_a_complex_law_is_that_of_the_real_part"),
    M("limits: infinities drawn", EXISTS, "if largest > float(limits.max):", "if False:", f"{DROP_IN}::test_draws_that_do_not_exist_in_the_dtype_are_refused_by_name"),
    M("limits: zeros drawn", EXISTS, "if law.stddev < finest:", "if False:", f"{DROP_IN}::test_draws_that_do_not_exist_in_the_dtype_are_refused_by_name"),
    M("limits: integers cut off", EXISTS, "value != math.floor(value) or not low <= value <= high", "not low <= value <= high", f"{DROP_IN}::test_draws_that_do_not_exist_in_the_dtype_are_refused_by_name"),
    M("own rule: NaN of a group not seen", "parameters/_initialize.py", "zip(assignments, values, strict=True):\n            with", "[]:\n            with", f"{DROP_IN}::test_what_a_users_rule_returns_is_checked"),
    M("own rule: any shape", EXISTS, "if value.shape != tuple(shape):", "if False:", f"{DROP_IN}::test_what_a_users_rule_returns_is_checked"),
    M("layer: groups of rule and layer count twice", "frameworks/_layout.py", "if self.groups == 1 or groups == 1:", "if True:", f"{TREES}::test_groups_that_rule_and_layer_both_name_count_once"),
    M("layer: axes in a rule for a moved leaf", "frameworks/_layout.py", "if cut.batch or self.groups > 1 or cut.order != tuple(range(len(shape))):", "if False:", f"{TREES}::test_axes_that_rule_and_layer_both_name_are_refused"),
    M("labels: texts cut to the length of the training set's", "data/_labels.py", "np.asarray(classes, np.result_type(y, y_test))", "np.asarray(classes, y.dtype)", "tests/data/test_data.py::test_labels_of_the_test_set_may_be_wider_than_those_of_the_training_set"),
    M("table: any settings", "results/_table.py", "if not isinstance(given, Mapping):", "if False:", f"{VERDICTS}::test_wrong_types"),
    M("identity: whole numbers beyond 64 bits", "initializers/_constant.py", "jnp.asarray(within_64_bits(gain), dtype)", "jnp.asarray(gain, dtype)", f"{DROP_IN}::test_whole_numbers_beyond_64_bits_are_drawn"),
    M("constant: of anything", "initializers/_constant.py", "if not isinstance(value, tuple | list):", "if False:", f"{DROP_IN}::test_a_constant_is_made_of_numbers"),
    M("swapped: JAX's constant looked up late", "initializers/_constant.py", "return jax_constant(numbers)", "return jax.nn.initializers.constant(numbers)", f"{DROP_IN}::test_draws_stay_when_ours_take_the_place_of_jaxs_own"),
    M("alias: defaults of another library", ALIASES, "if missing:", "if False:", f"{REGISTRY}::test_an_alias_never_stands_for_another_law"),
    M("alias: another order", ALIASES, "if spec.args and foreign.named:", "if False:", f"{REGISTRY}::test_an_alias_never_stands_for_another_law"),
    M("alias: JAX's names refused", ALIASES, "if spec.name == name or spec.name in _OF_JAX:", "if spec.name == name:", f"{REGISTRY}::test_an_alias_with_its_arguments_is_the_canonical_spec"),
    M("alias: words of a library not answered", ALIASES, "if words:", "if False:", f"{REGISTRY}::test_an_alias_never_stands_for_another_law"),
    M("fans: one axis in one role", FANS, '(role, before) != ("out_axis", "in_axis")', "True", f"{DROP_IN}::test_axes_that_jax_takes"),
    M("stack: every kernel by itself", BLOCKS, 'if "threefry" in str(jax.random.key_impl(key)):', "if False:", f"{DROP_IN}::test_the_program_does_not_grow_with_the_number_of_kernels"),
    M("stack: rbg under vmap", BLOCKS, 'if "threefry" in str(jax.random.key_impl(key)):', "if True:", f"{DROP_IN}::test_groups_of_any_generator_are_drawn_from_their_own_keys"),
    M("pickle: factor lost", "initializers/_base.py", "return scaled_by(self.factory(*args, **kwargs), self.factor)", "return self.factory(*args, **kwargs)", f"{DROP_IN}::test_pickling_keeps_name_arguments_and_values[0.5*he_normal(mode=fan_out)]"),
    M("dense: an axis more is a receptive field", LAYOUT, 'if self.layer == "dense" and len(shape) != rank:', "if False:", f"{DROP_IN}::test_a_dense_kernel_has_two_axes"),
    M("gain: NaN on a part of the line", GAIN, "if undefined.size:", "if False:", f"{GAINS}::test_functions_that_are_no_numbers_on_a_part_of_the_line_are_refused"),
    M("dtypes: float8 drawn", CHECKS, "wanted.name not in allowed", "not jnp.issubdtype(wanted, jnp.inexact)", f"{REGISTRY}::test_bad_input_is_one_line"),
    M("audit: keys taken for weights", "auditing/_audit.py", "if not (isinstance(leaf.value, jax.Array) and", "if not (False and", f"{AUDIT}::test_keys_in_a_model_are_not_weights"),
    M("normal: drawn in half precision", "_prng.py", 'jnp.promote_types(dtype, "float32")', "dtype", f"{PRNG}::test_normal_numbers_in_half_precision_are_those_of_float32"),
    M("entries: pieces start at 0", "_prng.py", "low = low + key[2]", "low = low", f"{ENTRIES}::test_the_bits_of_every_leaf_are_those_of_its_initializer_in_a_program"),
    M("entries: variance of a wrong law", "initializers/_entries.py", "np.sqrt(np.asarray(3, dtype) * rounded)", "np.sqrt(np.asarray(2, dtype) * rounded)", f"{ENTRIES}::test_the_bits_of_every_leaf_are_those_of_its_initializer_in_a_program"),
    M("entries: a stddev not rounded step by step", "initializers/_entries.py", "rounded = np.asarray(exact, dtype)", "rounded = np.asarray(exact, float)", f"{ENTRIES}::test_the_bits_of_every_leaf_are_those_of_its_initializer_in_a_program"),
    M("entries: fused kernels drawn as one", "initializers/_factories.py", "draw=draw, entries=None", "draw=draw", f"{ENTRIES}::test_draws_that_are_no_products_have_a_program_of_their_own[he_normal(fused=(2, 8))]"),
    M("entries: a factor forgotten", "initializers/_base.py", "        entries=None,\n", "", f"{ENTRIES}::test_draws_that_are_no_products_have_a_program_of_their_own[orthogonal]"),
    M("entries: keys of another purpose", "sweep/_network.py", "np.array([_word(purpose)], np.uint32)", 'np.array([_word("init")], np.uint32)', f"{ENTRIES}::test_keys_of_leaves_on_the_host_are_those_of_the_device"),
    M("plan: dearest program first", "sweep/_costs.py", "return longest if first is None else", "return longest if True else", "tests/sweep/test_grid_and_plan.py::test_the_cheapest_program_runs_first_then_the_dearest"),
    M("fit: vmap tries loops again", "train/_fit.py", "_of_lane((begin, idle, batches.begin()), key)", "(begin, idle, batches.begin())", "tests/train/test_training.py::test_vmap_transforms_the_loop_of_a_run_once"),
    M("threefry: rotations of the wrong group", "_prng.py", "_ROTATIONS[group % 2]", "_ROTATIONS[(group + 1) % 2]", f"{PRNG}::test_bits"),
    M("threefry: words of 64 bits swapped", "_prng.py", "| second.astype(jnp.uint64)", "| first.astype(jnp.uint64)", f"{PRNG}::test_bits_of_64"),
    M("threefry: no 64-bit counters", "_prng.py", "math.prod(shape) >= 2**32", "math.prod(shape) >= 2**33", f"{PRNG}::test_large_arrays_keep_jaxs_64_bit_counters"),
    M("threefry: merged with what follows", "_prng.py", 'set_xla_metadata(inlineable="false")', 'set_xla_metadata(inlineable="true")', f"{PRNG}::test_bits_and_what_becomes_of_them_are_two_loops"),
    M("ensemble: padding kept", "probes/_ensemble.py", "leaf.shape[-1])[: seeds.size]", "leaf.shape[-1])", f"{PROPAGATION}::test_a_network_is_the_same_in_any_row"),
    M("store: the code is no part of a run", "sweep/_identified.py", "task.programs[0].fingerprint(),", "'',", f"{STORED}::test_a_user_model_is_known_by_its_code_and_its_data"),
    M("store: the data are no part of a run", "sweep/_identified.py", 'data = settings["data"][program.dataset.name]["fingerprint"]', 'data = ""', f"{STORED}::test_a_user_model_is_known_by_its_code_and_its_data"),
    M("store: the machine is no part of a run", "sweep/_identified.py", "task.width, data, environment.hex()]", "task.width, data]", f"{STORED}::test_runs_of_another_environment_are_named_and_taken_only_if_asked"),
    M("devices: a tile on accelerators forgets the live arrays", "engine/_tiles.py", "(_ACCELERATOR_PEAK_BYTES, lane.peak)", "(_ACCELERATOR_PEAK_BYTES, lane.carried)", f"{DEVICES}::test_the_width_of_a_tile_is_a_power_of_two_that_fits"),
    M("devices: a tile forgets the windows of convolutions", "engine/_tiles.py", "(_CPU_WINDOWS_BYTES, lane.windows)", "(_CPU_WINDOWS_BYTES, lane.carried)", f"{DEVICES}::test_windows_of_convolutions_count_in_the_width_and_in_memory"),
    M("devices: windows of any size are made", "engine/_convolutions.py", "if needed > MOST_BYTES:", "if needed < 0:", f"{DEVICES}::test_convolutions_of_large_images_stay_as_they_are"),
    M("devices: one device twice", "engine/_devices.py", "len(set(mine)) != len(devices)", "len(mine) != len(devices)", f"{DEVICES}::test_what_is_no_device_is_refused"),
    M("devices: the plan does not count padding", "sweep/_plan.py", "self.runs * self.tiles * self.tile", "self.runs * self.runs", f"{DEVICES}::test_devices_are_workers"),
    M("processes: the tile of another device", "engine/_spread.py", "if one.device == device", "if one.device != device", f"{PROCESSES}::test_a_mesh_of_all_devices_gives_the_bits_of_threads"),
    M("processes: other jobs are not noticed", "engine/_spread.py", "if mine != [(order.name, order.width) for order in orders]:", "if not mine:", f"{PROCESSES}::test_processes_with_other_jobs_are_refused"),
    M("processes: silence is not noticed", "engine/_group.py", "elif last and now - since > LOST_AFTER:", "elif last and now - since > 1e9:", f"{PROCESSES}::test_errors_and_silence_of_another_process_end_a_wait"),
    M("store: lanes are known by their place", "engine/_stored_lanes.py", "one.update(np.ascontiguousarray(leaf[place]).tobytes())", "one.update(bytes([tile.start + place]))", f"{LANES_STORED}::test_only_missing_lanes_run_and_the_bits_are_those_of_one_run"),
    M("store: NumPy scalars are stored", "_database/_values.py", "return [int(value) for value in column.tolist()]", "return list(column)", f"{STORE_FILES}::test_numbers_are_those_of_sql"),
    M("store: checksums are not compared", "_database/_verify.py", "if kept != row_checksum(names, row, curves.get(number, {})):", "if False:", f"{STORE_FILES}::test_a_changed_value_is_found_by_its_checksum"),
    M("store: views and triggers are accepted", "_database/_schema.py", "    if strange:", "    if False:", f"{STORE_FILES}::test_a_file_that_somebody_made_up_gives_our_error"),
    M("store: two writers at once", "_database/_owner.py", 'connection.execute("COMMIT")\n    connection.execute("BEGIN IMMEDIATE")', 'connection.execute("COMMIT")\n    connection.execute("BEGIN")', f"{STORE_FILES}::test_of_several_writers_one_wins_and_the_others_are_told_who"),
    M("store: a vanished file is written on", "_database/_writer.py", "        self._check_file()\n", "        pass\n", f"{STORE_FILES}::test_a_vanished_file_stops_the_writer_with_a_clear_error"),
    M("store: groups wait for the end", "_database/_writer.py", "SECONDS_BETWEEN_COMMITS = 0.2", "SECONDS_BETWEEN_COMMITS = 99.0", f"{STORE_FILES}::test_threads_may_hand_over_tiles_and_a_group_is_committed_soon"),
    M("store: contradictions are merged", "_database/_merge.py", "        if differ:", "        if False:", f"{STORE_FILES}::test_merging_takes_all_or_nothing"),
    M("store: a commit cut short stays unreadable", "_database/_open.py", 'if "readonly" not in str(error):', "if True:", f"{STORE_FILES}::test_a_commit_that_a_kill_cut_short_is_undone_by_the_next_reader"),
    M("engine: int64 lanes wrap", "engine/_numbers.py", "if least < lowest or most > highest:", "if False:", f"{LIMITS}::test_shared_arguments_beyond_their_dtype_are_refused"),
    M("engine: a fork is not noticed", "engine/_executors.py", "    if _forked:", "    if False:", f"{LIMITS}::test_a_forked_worker_is_told_at_once"),
    M("engine: memory of the machine, not of the control group", "engine/_executors.py", "limits = [*_physical(), *_control_groups(), *_resource_limits()]", "limits = [*_physical()]", f"{LIMITS}::test_memory_is_what_the_process_may_use"),
    M("engine: a second Ctrl-C waits on", "engine/_schedule.py", "if noted.signals or time.monotonic() > deadline:", "if time.monotonic() > deadline:", f"{LIMITS}::test_a_second_interrupt_ends_the_wait_and_a_third_loses_nothing"),
    M("engine: functions of the user are known", "engine/_known.py", 'return _of_package(value.__globals__.get("__name__")) and _all(_bound(value), seen)', "return _all(_bound(value), seen)", f"{PROGRAMS}::test_a_function_that_reads_a_global_is_seen_to_change"),
    M("engine: code is no part of the key of a program", "engine/_program.py", "key = (digest, device,", "key = (device,", f"{PROGRAMS}::test_constants_decide_which_program_is_used"),
    M("stacks: equal sizes of linen take the first axis", "frameworks/_linen.py", "lifted = stacked(layout, rank, shape, added=axes[place])", "lifted = stacked(layout, rank, shape)", f"{STACKS}::test_linen_stacks_of_equal_sizes_have_the_fans_of_one_layer"),
    M("stacks: Equinox takes the first axis", "frameworks/_equinox.py", "own if len(shape) > len(own) else None)", "None)", f"{STACKS}::test_equinox_stacks_have_the_fans_of_one_layer_on_any_axis"),
    M("stacks: nnx takes the first axis", "frameworks/_nnx.py", "stacked(layout, len(own), shape, own)", "stacked(layout, len(own), shape)", f"{STACKS}::test_nnx_stacks_whose_sizes_are_equal_are_refused_until_layers_says_the_axis"),
    M("traces: constants are no part of what a function computes", "engine/_traced.py", "digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()", "digest = b''", f"{TRACED}::test_a_change_of_a_global_constant_or_derivative_is_seen"),
    M("traces: a derivative rule is no part of what a function computes", "engine/_traced.py", "return (found, self._rule(equation, jaxpr, found)) if custom else found", "return found", f"{TRACED}::test_a_change_of_a_global_constant_or_derivative_is_seen"),
    M("traces: one set of shapes stands for all", "engine/_traced.py", "return all(part.code(signature) == code for signature, code in seen)", "return any(part.code(signature) == code for signature, code in seen)", f"{TRACED}::test_a_value_is_found_only_if_every_shape_that_it_was_made_for_repeats"),
    M("traces: JAX's trace of the function before the change is taken", "engine/_traced.py", "jax.make_jaxpr(called, return_shape=True)", "jax.make_jaxpr(self.function, return_shape=True)", f"{TRACED}::test_a_change_of_a_global_constant_or_derivative_is_seen"),
    M("traces: functions that call back are found again", "engine/_traced.py", 'if "callback" in name or "debug" in name:', "if False:", f"{TRACED}::test_a_function_that_calls_back_into_python_is_never_found_again"),
    M("traces: the user's loss is no part of a program", "engine/_divided.py", "return marked(value), tuple(parts)", "return marked(value), tuple(parts[:0])", f"{FUNCTIONS}::test_a_second_run_compiles_and_lowers_nothing_and_has_the_same_bits"),
    M("traces: a changed loss finds the program of the earlier one", "engine/_traced.py", "if len(seen) == len(parts) and all(map(_repeats, parts, seen)):", "if len(seen) == len(parts):", f"{FUNCTIONS}::test_a_changed_global_is_another_program"),
    M("traces: each program of a plan traces the loss again", "engine/_divided.py", "return self._kept.setdefault(traced, traced)", "return traced", f"{FUNCTIONS}::test_programs_with_one_loss_share_its_traces"),
    M("traces: a traced optimizer forgets the weight decay", "train/_traced_optimizer.py", "static = 0.0 if decay is None else decay", "static = 0.0", f"{FUNCTIONS}::test_traced_functions_train_the_bits_of_untraced_ones"),
    M("several targets: each is split by itself", "data/_several.py", "split = (train, test)", "pass", f"{SEVERAL}::test_all_targets_have_the_same_rows_also_where_one_has_a_rare_class"),
    M("several targets: a default loss is taken", "train/losses.py", 'if task == "several" and (loss is None or isinstance(loss, str)):', "if False:", f"{SEVERAL}::test_what_no_loss_can_know_is_refused"),
    M("several targets: the grid's MLP gets no outputs", "sweep/_models.py", "    if not outputs:", "    if False:", f"{SEVERAL}::test_what_no_loss_can_know_is_refused"),
    M("several targets: other names in the test set", "data/_several.py", "elif not isinstance(y_test, Mapping) or set(y_test) != set(y):", "elif not isinstance(y_test, Mapping):", f"{SEVERAL}::test_options_of_one_target_and_other_test_targets_are_refused"),
    M("engine: what cannot be traced raises JAX's error", "engine/_traceable.py", "if isinstance(error, jax.errors.JAXTypeError):", "if False:", "tests/engine/test_engine.py::test_functions_that_cannot_be_traced_are_refused"),
    M("engine: text as a result raises JAX's error", "engine/_traceable.py", 'if "not a valid JAX type" in text:', "if False:", "tests/engine/test_engine.py::test_functions_that_cannot_be_traced_are_refused"),
    M("frameworks: shapes of a model that does not run raise its error", "frameworks/_layers.py", "        if not framework.needs_inputs:\n            raise\n        raise raised", "        if True:\n            raise\n        raise raised", "tests/frameworks/test_frameworks.py::test_a_model_that_does_not_run_on_the_inputs_is_refused"),
    M("sweep: outputs without a row per example are taken", "sweep/_opened.py", "if leaf.shape[:1] != x.shape[:1]:", "if False:", f"{OWN}::test_a_model_that_does_not_run_on_the_data_is_refused"),
    M("own models: a state of functions stays as it starts", "models/_functional.py", "return self.apply(params, state, x, train=True, key=key)", "return self.apply(params, state, x, train=True, key=key)[0], state", f"{OWN}::test_a_lane_is_the_frameworks_own_training_loop"),
    M("traces: programs of a plan open their model again", "sweep/_opened.py", "return self._kept.get(key)", "return None", f"{TRACES}::test_programs_that_differ_in_training_alone_share_the_calls"),
    M("precision: the weights that training keeps are rounded", "train/_precision.py", 'if precision != "float64":\n        return params', 'if precision != "float64":\n        return _cast(_cast(params, precision), jnp.float32)', f"{PRECISION}::test_bfloat16_computes_low_and_keeps_float32"),
    M("precision: examples are not cast", "train/_precision.py", "plain(_cast(params, dtype), _cast(x, dtype))", "plain(_cast(params, dtype), x)", f"{PRECISION}::test_bfloat16_computes_low_and_keeps_float32"),
    M("precision: the grid's is forgotten", "sweep/_grid.py", "precision=self.precision,", "", f"{PRECISION}::test_a_sweep_computes_in_its_precision_and_its_table_says_so"),
    M("precision: tokens are rounded", "train/_precision.py", "if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf", "", f"{PRECISION}::test_whole_numbers_are_not_rounded"),
    M("kept programs: what JAX has loaded is kept again", "engine/_kept_programs.py", "if not _FOUND.by_jax:", "if True:", f"{KEPT}::test_what_jax_has_loaded_is_not_kept_again"),
    M("kept programs: damage is not seen", "engine/_kept_programs.py", "if _checksum(program) != digest:", "if False:", f"{KEPT}::test_a_damaged_file_is_compiled_again_with_one_warning"),
    M("kept programs: the code is no part of the key", "engine/_kept_programs.py", "hashlib.blake2b(code + what.encode()", "hashlib.blake2b(what.encode()", f"{KEPT}::test_programs_with_other_constants_are_other_programs"),
    M("kept programs: the oldest stays", "engine/_kept_programs.py", "in sorted(files):", "in sorted(files, reverse=True):", f"{KEPT}::test_the_least_recently_used_programs_go_first"),
    M("kept programs: a missing feature is overheard", "engine/_stderr.py", "    if missing:", "    if False:", f"{KEPT}::test_a_feature_that_the_processor_lacks_is_an_error"),
    M("kept programs: other lines are lost", "engine/_stderr.py", "os.write(2, lines)", "os.write(2, b'')", f"{KEPT}::test_what_others_write_while_a_program_loads_is_not_lost"),
    M("kept programs: beside JAX's own cache", "engine/_kept_programs.py", 'if _setting("jax_compilation_cache_dir") and', "if False and", f"{KEPT}::test_where_jax_keeps_programs_nothing_is_kept_beside"),
    M("engine: callbacks are shared", "engine/_program.py", 'if "callback" in code:\n        return', "if False:\n        return", f"{PROGRAMS}::test_calls_back_into_python_are_never_mixed_up"),
    M("executors: a lost tile is given up at once", "engine/_remote.py", "_ATTEMPTS = 4", "_ATTEMPTS = 1", f"{ELSEWHERE}::test_a_lost_tile_is_sent_again_and_an_executor_that_loses_all_is_given_up"),
    M("executors: other versions compute, too", "engine/_serve.py", "if different:", "if False:", f"{ELSEWHERE}::test_workers_with_other_versions_are_refused_with_the_difference"),
    M("executors: data travel with every tile", "engine/_remote.py", "{name: parcel.parts[name] for name in missing}", "parcel.parts", f"{ELSEWHERE}::test_a_worker_asks_once_for_the_job_and_once_for_the_data"),
    M("executors: tiles of an interrupted run are dropped", "engine/_remote.py", "            for future, sent in self.sent.items():\n                if not future.done()", "            for future, sent in {}.items():\n                if not future.done()", f"{ELSEWHERE}::test_an_interruption_waits_for_running_tiles_and_takes_the_others_back"),
    M("executors: a silent address is believed", "engine/_ray.py", "if len(head) < 9 or head[3] != _SETTINGS_FRAME:", "if False:", f"{ELSEWHERE}::test_an_address_that_is_silent_closed_or_of_something_else_is_refused"),
    M("progress: a file is filled with lines", "sweep/_line.py", "return LineProgress(sys.stderr) if is_watched(sys.stderr) else None", "return LineProgress(sys.stderr)", "tests/sweep/test_progress_line.py::test_files_show_nothing_and_false_turns_the_line_off"),
    M("progress: a closed terminal ends the sweep", "sweep/_line.py", "except (OSError, ValueError):", "except ZeroDivisionError:", "tests/sweep/test_progress_line.py::test_a_closed_terminal_does_not_end_a_sweep"),
    M("store: an unknown file system is trusted", "_database/_file_system.py", "kind in _LOCAL, kind in _IN_MEMORY", "kind in _LOCAL or 'new' in kind, kind in _IN_MEMORY", f"{FILE_SYSTEMS}::test_the_innermost_mount_decides"),
    M("store: a write-ahead log on every drive", "_database/_open.py", "if _file_system.file_system(path).trusted:", "if True:", f"{FILE_SYSTEMS}::test_a_store_has_a_write_ahead_log_only_where_locks_are_trusted"),
    M("executors: the precision of products is not compared", "engine/_environment.py", '    "jax_default_matmul_precision",\n', "", f"{ELSEWHERE}::test_workers_with_another_precision_of_products_are_refused"),
    M("halving: the worst go on", "sweep/_halving.py", "values if lower_is_better(metric) else -values", "-values if lower_is_better(metric) else values", f"{HALVING}::test_the_best_third_gets_three_times_the_seeds"),
    M("halving: the luckiest seed decides", "sweep/_halving.py", "return float(np.median(values)), float(np.mean(values))", "return float(np.min(values)), 0.0", f"{HALVING}::test_the_seeds_of_a_configuration_are_judged_together"),
    M("halving: the baseline may be dropped", "sweep/_halving.py", "if each in best or self._stays(each)]", "if each in best]", f"{HALVING}::test_fewer_seeds_mean_fewer_decisions_and_what_is_kept_stays"),
    M("halving: all cells are one race", "sweep/_halving.py", "races.setdefault(tuple(each[place] for place in others), [])", "races.setdefault((), [])", f"{HALVING}::test_every_value_of_the_other_axes_is_a_race_of_its_own"),
    M("halving: a dropped arm is judged at later decisions, too", "results/_looks.py", "if pairs[number + 1] > pairs[number]]", "]", f"{HALVING}::test_the_pairs_of_a_dropped_arm_are_judged_once"),
    M("halving: an interruption loses earlier batches", "sweep/_halving.py", "                _complete(error, whole, race)\n", "                pass\n", f"{HALVING}::test_an_interruption_keeps_what_was_trained_and_decided"),
    M("store in memory: batches are told apart by nothing", "sweep/_tiles.py", 'return f"{job}, runs {self._runs}"', "return job", f"{UNTIL}::test_one_store_in_memory_serves_all_batches_and_trains_nothing_twice"),
    M("store: changed code of another environment is taken", "sweep/_stored.py", "taken = same or ({} if comparable else runs)", "taken = runs", f"{STORED}::test_a_changed_program_of_another_environment_is_not_taken_silently"),
    M("store: code that cannot be compared is not marked", "sweep/_stored.py", 'mark = words if same else f"{words}; its code cannot be compared"', "mark = words", f"{STORED}::test_a_changed_program_of_another_environment_is_not_taken_silently"),
    M("store: axes of one value are read row by row", "_database/_whole.py", "if axis in single]", "if False]", f"{STORE_FILES}::test_of_a_large_store_only_what_is_asked_for_is_read"),
    M("store: named arms count as one value", "_database/_whole.py", "isinstance(value, list | dict)", "isinstance(value, list)", f"{STORE_FILES}::test_an_axis_is_read_once_only_where_all_grids_have_one_plain_value"),
    M("mirror: the copy grows in its place", "_database/_mirror.py", 'part = target.with_name(f".{target.name}.{os.getpid()}.part")', "part = target", f"{MIRROR}::test_a_copy_that_stops_half_way_leaves_the_one_before"),
    M("mirror: a slow drive delays commits", "_database/_writer.py", "            self._copying.start()\n", "            self._copying.start()\n            self._copying.join()\n", f"{MIRROR}::test_a_slow_drive_delays_no_commit"),
    M("mirror: what a kill left stays", "_database/_writer.py", "        _mirror.clean(self.path, self._mirror)\n", "", f"{MIRROR}::test_a_kill_in_the_middle_of_a_copy_leaves_the_one_before"),
    M("until settled: every look spends all of the error", "results/_looks.py", "p_value=min(1.0, result.p_value / look.share),", "p_value=result.p_value,", f"{UNTIL}::test_each_p_value_of_a_look_is_divided_by_its_share"),
    M("until settled: only the last look counts", "results/_looks.py", "best = min(scaled, key=_evidence)", "best = scaled[-1]", f"{UNTIL}::test_what_is_settled_once_stays_settled"),
    M("until settled: a look sees seeds to come", "results/_looks.py", "return table.take(np.asarray(table[SEED]) < look.seeds)", "return table", f"{UNTIL}::test_what_is_settled_once_stays_settled"),
    M("until settled: an interruption drops earlier batches", "sweep/_until.py", "        _complete(error, whole, done, until)\n", "        pass\n", f"{UNTIL}::test_an_interruption_keeps_the_batches_before"),
    M("shares: the first seeds are in every share", "sweep/_grid.py", "self.seed_values[number - 1 :: of]", "self.seed_values[:: of]", f"{SHARES}::test_every_seed_is_in_one_share"),
    M("machine: the quota of a control group is not seen", "engine/_executors.py", "return max(1, min(cores, *(math.ceil(quota) for quota in _quotas()), cores))", "return max(1, cores)", f"{MACHINE}::test_the_quota_of_a_control_group_limits_the_cores"),
    M("machine: a network drive looks local", "_database/_file_system.py", "if real.is_relative_to(folder) and len(folder) >= len(mount):", "if str(real).startswith(folder):", f"{FILE_SYSTEMS}::test_the_innermost_mount_decides"),
    M("doctor: a silent CPU is no problem", "cli/_doctor.py", 'if machine.platform == "cpu" and signs:', "if False:", f"{CLI}::test_doctor_warns_of_a_silent_cpu_a_bad_jax_and_a_remote_file_system"),
    M("sweep: an error loses its table", "sweep/_run.py", "_attach(error, finished, runs)", "pass", f"{LOST}::test_a_callback_that_raises_ends_the_sweep_with_its_table"),
    M("sweep: lanes run arm by arm", "sweep/_lanes.py", "        self._block = block", "        self._block = 10**6", f"{LOST}::test_lanes_of_any_start_of_a_sweep_have_the_same_seeds_in_every_arm"),
    M("sweep: rows in the order of lanes", "sweep/_rows.py", "rows = np.argsort(index.order(numbers))", "rows = np.arange(len(numbers))", f"{LOST}::test_rows_are_in_the_order_of_the_grid_and_the_order_of_lanes_changes_no_bit"),
    M("sweep: results of any size are accepted", "sweep/_checks.py", "if memory is not None and needed > memory:", "if False:", f"{SETTINGS}::test_results_beyond_the_memory_are_refused_before_training"),
    M("settings: the shape of data is no part of the fingerprint", "sweep/_settings.py", 'digest.update(f"{array.shape}{array.dtype.str}".encode())', "pass", f"{SETTINGS}::test_a_fingerprint_changes_with_every_change_of_the_data"),
    M("concat: settings are not compared", "results/_concat.py", "    if differences:", "    if False:", f"{FILES}::test_tables_of_other_sweeps_are_refused"),
    M("concat: a run twice", "results/_concat.py", "    if count > 1:", "    if False:", f"{FILES}::test_tables_of_other_sweeps_are_refused"),
    M("own arms: biases are drawn", "sweep/_assigned.py", "rules(drawn, OWN if kernel == OWN else bias)", "rules(drawn, bias)", f"{OWN_ARMS}::test_the_models_own_start_is_kept_with_its_biases"),
    M("own arms: one key for all seeds", "sweep/_assigned.py", 'run_key(lane["seed"], self.purpose)', "run_key(0, self.purpose)", f"{OWN_ARMS}::test_a_function_of_the_key_gets_the_key_of_the_run"),
    M("own arms: NaN", "sweep/_weights.py", "        if missing:", "        if False:", f"{OWN_ARMS}::test_nan_among_drawn_weights_is_an_error"),
    M("twins are counted twice", "sweep/_twins.py", "defaults | arguments", "arguments", f"{OWN_ARMS}::test_arms_that_mean_nothing_new_are_refused"),
    M("command line: entry points are not called", "cli/_plugins.py", "            if callable(registers):", "            if False:", f"{CLI}::test_installed_packages_register_by_an_entry_point"),
    M("watch: the squares of a sum", "sweep/_watch.py", "jnp.sqrt(squares(leaf).mean())", "jnp.sqrt(jnp.square(leaf.mean()))", f"{DURING}::test_probes_measure_the_parameters_and_change_nothing"),
    M("watch: the last of stacked layers", "sweep/_watch.py", "values[layer.value][layer.index]", "values[layer.value][-1]", f"{DURING}::test_probes_measure_the_parameters_and_change_nothing"),
    M("evaluate_every: the last step is missing", "train/_config.py", "return (*before, self.steps)", "return (*before,)", f"{DURING}::test_evaluations_at_equal_distances"),
    M("survival counts runs", "report/plots/_lines.py", 'per_seed(mine, mine["steps_to_target"].astype(float))', 'mine["steps_to_target"].astype(float)', "tests/report/test_plots.py::test_a_seed_is_one_observation_of_survival"),
    M("tracker: the queue blocks", "sweep/_trackers.py", "self._queue.put_nowait(record)", "self._queue.put(record, timeout=1)", f"{TRACKERS}::test_records_beyond_the_queue_are_counted"),
    M("tracker: its errors are silent", "sweep/_trackers.py", "            self._failure = failure", "            pass", f"{TRACKERS}::test_a_tracker_that_raises_is_named_at_the_end"),
    M("concat: arms without pairs", "results/_concat.py", "if arm not in shared and not seeds & theirs:", "if False:", f"{FILES}::test_arms_of_two_tables_share_seeds"),
    M("compare command: nothing is tuned", "cli/_compare.py", "tune=tuple(comparison.tune),", "tune=(),", f"{CLI}::test_written_tables_are_joined_and_compared"),
    M("compare command: the margin is lost", "cli/_compare.py", "        margin=comparison.margin,\n        tune", "        tune", f"{CLI}::test_written_tables_are_joined_and_compared"),
    M("read: a missing text is NaN", "results/_formats.py", "value if isinstance(value, str) else None for value", "value for value", f"{FILES}::test_tables_come_back_exactly"),
    M("read: dtypes of the format", "results/_formats.py", "return cast if np.array_equal(cast", "return values if np.array_equal(cast", f"{FILES}::test_a_part_of_a_frame_with_a_further_column_is_a_table"),
    M("unstack: rows in another order", "results/_formats.py", "spread[places] = array", "spread[places] = array[::-1]", f"{FILES}::test_xarray_has_the_axes_as_dimensions"),
    M("select: the first of several values", "results/_table.py", "[item in wanted for item in present]", "[item in wanted[:1] for item in present]", "tests/results/test_table.py::test_several_values_are_selected"),
    M("cli: printed before it is written", "cli/_sweeps.py", "            table.write(output.out)", "            pass", f"{CLI}::test_the_file_is_written_before_anything_is_printed"),
    M("cli: no time limit where Ctrl-C is ignored", "cli/_signals.py", "    if ignored:\n        signal.signal(signal.SIGINT, limit_alone)\n", "", f"{CLI}::test_a_time_limit_holds_where_ctrl_c_is_ignored"),
    M("cli: Ctrl-C is no longer ignored under a time limit", "cli/_signals.py", "if _late.is_set() and _answers:", "if _answers:", f"{CLI}::test_a_time_limit_holds_where_ctrl_c_is_ignored"),
    M("cli: JSON ends with the first write", "cli/_output.py", "    while left:\n", "    if left:\n", f"{CLI}::test_json_is_whole_on_a_stream_that_takes_a_part_of_a_write"),
    M("cli: SIGTERM exits as Ctrl-C", "cli/_signals.py", "return 128 + self.numbers[0]", "return 130", f"{CLI}::test_signals_end_a_command_with_the_code_of_a_shell"),
    M("encoding: a minus becomes a question mark", "report/_encoding.py", '_SPELLED = {"−": "-",', '_SPELLED = {"−": "?",', "tests/report/test_encoding.py::test_numbers_keep_their_sign_in_every_encoding[ascii]"),
    M("grid: twins of float32", "sweep/_values.py", "        if other != value:", "        if False:", "tests/sweep/test_grid_and_plan.py::test_two_spellings_of_one_value_are_refused_not_counted_twice"),
    M("calibrated sweep: not calibrated", "sweep/_lanes.py", "if calibration is None:", "if True:", f"{CALIBRATED}::test_a_calibrated_arm_runs_beside_its_own_initializer"),
    M("clip: derivative of the norm of nothing", "clipping/_norms.py", "jnp.where(ratio > 0, ratio, jnp.ones_like(ratio))", "ratio", f"{CLIPPING}::test_derivatives_in_either_mode_twice_and_by_the_threshold[leaf_norm]"),
    M("clip: derivative in other units", "clipping/_norms.py", "jnp.sum(direction * (move.astype(ratio.dtype) * (1 / unit)))", "jnp.sum(direction * move.astype(ratio.dtype))", f"{CLIPPING}::test_derivative_of_a_norm_beyond_float32"),
    M("clip: compiled at every call", "clipping/_build.py", "@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)\n", "", f"{CLIPPING}::test_outside_of_jit_nothing_is_compiled_again"),
    M("adaptive clip: eps forgotten", "clipping/_units.py", "jnp.maximum(measure * ratio, eps)", "measure * ratio", f"{CLIPPING}::test_options_of_a_rule_are_parsed_written_and_made"),
    M("adaptive clip: heads share a norm", "clipping/_units.py", "(0,) if len(shape) <= 3", "(0,) if len(shape) <= 2", f"{CLIPPING}::test_adaptive_units_of_every_rank_and_of_named_axes"),
    M("per-example clip: sum instead of mean", "clipping/_units.py", "jnp.mean(leaf.astype(wide(leaf)), axis=0)", "jnp.sum(leaf.astype(wide(leaf)), axis=0)", f"{CLIPPING}::test_per_example_against_optax"),
    M("block RMS: n instead of its root", "clipping/_transforms.py", "math.sqrt(leaf.size)", "leaf.size", f"{CLIPPING}::test_norms_beyond_float32_are_clipped_to_the_threshold"),
    M("optimizers: Nadam without its look-ahead", "train/_named.py", "_nadam = partial(optax.scale_by_adam, nesterov=True)", "_nadam = partial(optax.scale_by_adam, nesterov=False)", f"{OPTIMIZERS}::test_optimizers_are_optax_by_name"),
    M("optimizers: LAMB decays after its ratio", "train/_named.py", "return [adam, *numbers.decay(), optax.scale_by_trust_ratio(), numbers.rate()]", "return [adam, optax.scale_by_trust_ratio(), *numbers.decay(), numbers.rate()]", f"{OPTIMIZERS}::test_optimizers_are_optax_by_name[lamb]"),
    M("optimizers: NovoGrad decays every leaf", "train/_named.py", "lambda p, flag: p if flag else jnp.zeros_like(p)", "lambda p, flag: p", f"{OPTIMIZERS}::test_the_flags_say_which_leaves_decay"),
    M("optimizers: Muon forgets the shape", "train/_muon.py", "return math.sqrt(max(1.0, block.shape[2] / max(block.shape[1], 1))) * block", "return block", f"{OPTIMIZERS}::test_optimizers_are_optax_by_name[muon]"),
    M("optimizers: Muon takes packed blocks as one", "train/_muon.py", "stops = list(itertools.accumulate(self.blocks))[:-1]", "stops: list[int] = []", f"{OPTIMIZERS}::test_muon_orthogonalizes_each_block_and_each_batch_entry"),
    M("optimizers: Muon turns input layers", "sweep/_optimized.py", 'outside = roles.last | (frozenset() if "embedding" in kinds else roles.first)', "outside = roles.last", f"{LEARNED}::test_muon_takes_the_hidden_kernels_by_their_layers"),
    M("optimizers: biases decay with the weights", "sweep/_optimized.py", "return leaf.layout.is_cut", "return True", f"{LEARNED}::test_biases_and_norms_do_not_decay_if_only_weights_do"),
    M("optimizers: schedule-free evaluated at y", "train/_evaluated.py", "params = _averaged(params, node)", "params = _averaged(params, node) if False else params", f"{OPTIMIZERS}::test_a_schedule_free_run_is_evaluated_and_watched_at_its_average"),
    M("optimizers: a first update of NaN passes", "train/_own.py", "    if bad:", "    if False:", f"{LEARNED}::test_transforms_that_do_not_fit_are_refused_before_training"),
    M("optimizers: updates of another shape pass", "train/_own.py", "if new.shape != old.shape or _kind(new) != _kind(old):", "if _kind(new) != _kind(old):", f"{LEARNED}::test_transforms_that_do_not_fit_are_refused_before_training"),
    M("optimizers: a grid varies what an optimizer lacks", "train/_effects.py", "if unused or (without and len(values) > 1):", "if unused:", f"{OPTIMIZERS}::test_numbers_that_an_optimizer_does_not_have_are_refused_in_a_grid"),
    M("accumulation: the sum instead of the mean", "train/_accumulated.py", "means = [(s / parts)", "means = [(s / 1)", f"{ACCUMULATION}::test_parts_give_the_steps_of_the_whole_batch"),
    M("accumulation: one noise for all parts", "train/_step.py", "if key is not None and part:", "if key is not None and False:", f"{ACCUMULATION}::test_the_state_passes_through_the_parts_and_each_part_has_noise_of_its_own"),
    M("accumulation: sums in half precision", "train/_accumulated.py", "jnp.promote_types(leaf.dtype, jnp.float32)", "jnp.dtype(leaf.dtype)", f"{ACCUMULATION}::test_half_precision_gradients_add_up_in_float32"),
    M("percentile: the oldest norm stays", "clipping/_percentile.py", "gone = jnp.sum(state.ascending < oldest)", "gone = jnp.sum(state.ascending <= oldest)", f"{PERCENTILE}::test_against_numpy"),
    M("percentile: norms of NaN are kept", "clipping/_percentile.py", "kept = jnp.isfinite(own)", "kept = jnp.isfinite(own) | True", f"{PERCENTILE}::test_a_norm_that_is_not_finite_is_not_remembered"),
    M("percentile: no interpolation", "clipping/_percentile.py", "return first + (place - low) * (second - first)", "return first", f"{PERCENTILE}::test_against_numpy"),
    M("step: skipping freezes", "train/_step.py", "if _statistics.nonfinite_updates(opt_state) is None:", "if True:", f"{TRAINING}::test_a_bad_batch_costs_one_step_if_the_optimizer_skips_it"),
    M("step: skipping hides broken parameters", "train/_step.py", "_status(jnp.zeros_like(value), norm(params))", "_status(jnp.zeros_like(value), jnp.zeros(()))", f"{TRAINING}::test_skipping_does_not_hide_parameters_that_overflow"),
    M("sweep: layers are not asked", "sweep/_rules.py", "layers = _merged(_layers_of(model, x), layers)", "pass", f"{OWN}::test_every_kernel_has_the_sigma_of_its_layer"),
    M("sweep: gain by rank", "sweep/_rules.py", "i for i, leaf in enumerate(self.leaves) if _is_kernel(leaf)", "i for i, leaf in enumerate(self.leaves) if len(leaf.value.shape) > 1", f"{OWN}::test_leaves_that_no_rule_names_keep_the_models_own_start"),
    M("sweep: own start of one seed for all", "sweep/_own.py", 'run_key(lane["seed"], "own")', 'run_key(0, "own")', f"{OWN}::test_leaves_that_no_rule_names_keep_the_models_own_start"),
    M("models: an axis without effect", "sweep/_models.py", "if axis not in taken and getattr(grid, axis) != getattr(Grid, axis):", "if False:", f"{ARMS}::test_models_that_cannot_be_made_are_refused_before_any_work"),
    M("models: a column that one arm does not take", "sweep/_models.py", "if all(axis in one for one in taken)", "if any(axis in one for one in taken)", f"{ARMS}::test_a_plan_prints_the_leaves_of_each_named_model"),
    M("models: an option keeps its default", "sweep/_models.py", "name: code.get(name, getattr(self.grid, name))", "name: code.get(name, getattr(Grid, name))", f"{ARMS}::test_a_factory_takes_any_of_the_grids_axes_and_options"),
    M("start: the fingerprint skips the bits", "sweep/_start.py", "digest.update(np.ascontiguousarray(leaf).tobytes())", "pass", f"{START}::test_a_plan_and_a_table_say_what_is_kept"),
    M("models: a tree that can be called is a function", "models/_functional.py", "callable(shapes) and jax.tree_util.all_leaves([shapes])", "callable(shapes)", f"{MATRIX}::test_a_lane_is_gradient_descent_on_the_frameworks_own_call"),
    M("models: a tree beside a function is a module", "frameworks/_as_model.py", "or len(model) != 2 or _is_functions(model):", "or len(model) != 2:", f"{MATRIX}::test_a_lane_is_gradient_descent_on_the_frameworks_own_call"),
    M("start: not in the identity of a run", "sweep/_lanes.py", "own += [] if self._start is None else [self._start.fingerprint]", "pass", f"{START}::test_the_identity_of_a_run_changes_with_any_bit_of_the_start"),
    M("start: another dtype is taken", "sweep/_start.py", '("dtype", str(value.dtype), str(leaf.dtype)),', "", f"{START}::test_a_start_that_does_not_fit_is_refused_by_path"),
    M("start: the gain scales the body", "sweep/_rules.py", "if assigned[i].initializer is not None)", ")", f"{START}::test_the_gain_multiplies_drawn_kernels_only"),
    M("start: the old norm of a drawn kernel", "sweep/_rules.py", "and not _follows_a_draw(leaf, named)", "", f"{START}::test_the_norm_of_a_drawn_kernel_follows_the_draw"),
    M("start: the model's own state", "sweep/_own.py", "            if self._given.state is not None:", "            if False:", f"{START}::test_named_leaves_are_drawn_and_all_others_are_the_given_ones"),
    M("calibrated models: scales of norms are kernels", "frameworks/_haiku.py", "    owners = owners_of(params, CONVENTIONS.vectors)\n    train", "    owners = owners_of(params)\n    train", f"{STATES}::test_the_opened_model_is_the_training_step[haiku]"),
    M("calibrated models: dropout is another draw", "sweep/_calibrated.py", "jax.random.fold_in(key, 0)", "jax.random.fold_in(key, 1)", f"{STATES}::test_calibrated_layers_have_variance_1_in_training[linen]"),
    M("calibrated models: examples share their keys", "frameworks/_equinox_functions.py", "return jax.random.split(key, len(x)), 0", "return jax.random.split(key, 1)[jnp.zeros(len(x), int)], 0", "tests/sweep/test_own_models.py::test_a_lane_is_the_frameworks_own_training_loop[equinox]"),
    M("sweep: last layers are hidden", "sweep/_roles.py", '"last" if path in found.last else ""', '""', f"{OWN}::test_first_and_last_layers_get_their_own_law"),
    M("sweep: a layer on another is first", "sweep/_roles.py", "all(reached[n] == {n} for n in names)", "any(n in reached[n] for n in names)", f"{OWN}::test_first_and_last_layers_get_their_own_law"),
    M("step: one noise for all steps", "train/_step.py", "key = None if state.key is None else jax.random.fold_in(state.key, state.step)", "key = state.key", f"{OWN}::test_functions_with_state_are_a_model"),
    M("step: state stands still", "train/_step.py", "(outputs, y), model_state\n", "(outputs, y), state.model_state\n", f"{OWN}::test_functions_with_state_are_a_model"),
    M("sweep: dropout of one seed for all", "sweep/_network.py", 'run_key(seed, "dropout")', 'run_key(0, "dropout")', f"{OWN}::test_functions_with_state_are_a_model"),
    M("linen: evaluated in training mode", "frameworks/_linen_functions.py", "module.use_running_average is False", "False", f"{OWN}::test_a_lane_is_the_frameworks_own_training_loop"),
    M("nnx: evaluated in training mode", "frameworks/_nnx_functions.py", "    evaluated.eval()\n", "    evaluated.train()\n", f"{OWN}::test_a_lane_is_the_frameworks_own_training_loop[nnx]"),
    M("data: float labels are targets", "data/_labels.py", "        _refuse_labels_of_floats(name, array, dtype)\n", "", f"{DATA}::test_floats_that_may_be_labels_need_a_task"),
    M("data: a column of labels is one-hot", "data/_labels.py", "array.ndim != 2 or array.shape[1] < 2", "array.ndim != 2", f"{DATA}::test_floats_that_may_be_labels_need_a_task"),
    M("data: labels in another order", "data/_labels.py", "np.where(out, -1, np.searchsorted(known, each))", "np.where(out, -1, len(known) - 1 - np.searchsorted(known, each))", f"{AS_IT_COMES}::test_labels_of_any_kind_are_numbered_in_ascending_order"),
    M("data: classes of the training side only", "data/_labels.py", "np.unique(np.concatenate([y, y_test]))", "np.unique(y)", f"{AS_IT_COMES}::test_labels_of_any_kind_are_numbered_in_ascending_order"),
    M("data: numbers with gaps are labels", "data/_labels.py", "if task is None and not few:", "if False:", f"{AS_IT_COMES}::test_labels_that_may_be_targets_need_a_task"),
    M("data: other rows of an index", "data/_features.py", "if not first.equals(second):", "if False:", f"{AS_IT_COMES}::test_what_is_refused_is_named_with_its_mending_line"),
    M("data: columns in another order", "data/_features.py", "if tuple(names) != tuple(test):", "if False:", f"{AS_IT_COMES}::test_what_is_refused_is_named_with_its_mending_line"),
    M("data: numbers as text are read", "data/_features.py", "    if _has_text(values):", "    if False:", f"{AS_IT_COMES}::test_what_is_refused_is_named_with_its_mending_line"),
    M("data: never stratified", "data/_splits.py", "(by_class or ", "(False or ", f"{AS_IT_COMES}::test_splits_by_share_by_class_and_by_rows"),
    M("data: a row on both sides", "data/_splits.py", "    if both.size:", "    if False:", f"{AS_IT_COMES}::test_splits_by_share_by_class_and_by_rows"),
    M("data: constant features are not named", "data/_from_arrays.py", "        if constant.any():", "        if False:", f"{AS_IT_COMES}::test_the_plan_and_the_settings_say_what_was_done"),
    M("epochs: one order for all", "train/_batches.py", "epoch_order(self.key, epoch, len(self.x))", "epoch_order(self.key, 0, len(self.x))", f"{BATCHES}::test_every_example_is_seen_exactly_once_per_epoch"),
    M("epochs: the odd last batch is left out", "train/_batches.py", "jnp.divmod(number, whole + (last > 0))", "jnp.divmod(number, max(whole, 1))", f"{BATCHES}::test_every_example_is_seen_exactly_once_per_epoch"),
    M("epochs: the last batch repeats examples", "train/_batches.py", "jax.lax.cond(place == whole, short, full)", "full()", f"{BATCHES}::test_a_run_is_the_loop_of_numpy_with_its_odd_last_batch"),
    M("epochs: the order of the first epoch stays", "train/_batches.py", "            place == 0,", "            number == 0,", f"{BATCHES}::test_a_run_is_the_loop_of_numpy_with_its_odd_last_batch"),
    M("positions: ignored labels count in the mean", "train/_positions.py", "/ jnp.maximum((y >= 0).sum(), 1)", "/ len(y)", f"{POSITIONS}::test_a_loss_of_positions_is_the_mean_over_the_counted_ones"),
    M("positions: ignored labels count as class 0", "train/_positions.py", "jnp.where(y >= 0, values, 0).sum()", "values.sum()", f"{POSITIONS}::test_a_loss_of_positions_is_the_mean_over_the_counted_ones"),
    M("positions: accuracy counts ignored labels", "train/losses.py", "dtype=jnp.float32, where=y >= 0)", "dtype=jnp.float32)", f"{POSITIONS}::test_accuracies_of_positions_are_scikit_learns"),
    M("positions: balanced accuracy counts ignored labels", "train/_balanced.py", "            correct &= y >= 0\n", "            correct |= y < 0\n", f"{POSITIONS}::test_accuracies_of_positions_are_scikit_learns"),
    M("multilabel: one right label suffices", "train/_correct.py", "jnp.all(((outputs > 0)", "jnp.any(((outputs > 0)", f"{POSITIONS}::test_several_labels_are_measured_as_scikit_learn_does"),
    M("multilabel: absent labels have F1 0", "train/_multilabel.py", "jnp.sum(scores) / jnp.sum(both > 0)", "jnp.mean(scores)", f"{POSITIONS}::test_several_labels_are_measured_as_scikit_learn_does"),
    M("regression: units in the wrong places", "train/_regression.py", "outputs, y = outputs.reshape(len(y), -1), y.reshape(len(y), -1)", "outputs, y = outputs.reshape(len(y), -1)[:, ::-1], y.reshape(len(y), -1)[:, ::-1]", f"{POSITIONS}::test_sequences_of_targets_keep_their_shape"),
    M("balanced accuracy: absent classes count", "train/_balanced.py", "jnp.sum(counts > 0)", "self.classes", f"{BALANCED}::test_balanced_accuracy_is_scikit_learns"),
    M("balanced accuracy: every example counts alike", "train/_balanced.py", "1 / (counts[y] * jnp.sum(counts > 0))", "1 / len(y) + 0 * counts[y]", f"{BALANCED}::test_balanced_accuracy_is_scikit_learns"),
    M("anew: JAX's trace of an equal function is taken", "_anew.py", "    return functools.wraps(function)(called) if", "    return function if True or", f"{GENERATED}::test_a_global_that_has_changed_makes_another_test_set_and_fingerprint"),
    M("anew: a probe asks JAX's trace", "probes/_curvature.py", "jax.eval_shape(anew(loss), params)", "jax.eval_shape(loss, params)", "tests/test_structure.py::test_functions_are_traced_anew"),
    M("generated: one batch for all steps", "train/_batches.py", "jax.random.fold_in(self.key, number), self.size)), order", "self.key, self.size)), order", f"{GENERATED}::test_a_run_is_the_loop_over_batches_of_its_key"),
    M("generated: the sample is the test set", "data/_generated.py", "for seed in (TEST, _SAMPLE)", "for seed in (TEST, TEST)", f"{GENERATED}::test_a_generated_set_has_its_test_set_its_task_and_its_words"),
    M("generated: the key may be ignored", "data/_generated.py", "    if np.array_equal(x_test, x):", "    if False:", f"{GENERATED}::test_functions_that_do_not_fit_are_refused"),
    M("generated: the function has no fingerprint", "sweep/_settings.py", "    if dataset.generator is not None:", "    if False:", f"{GENERATED}::test_a_fingerprint_is_that_of_the_lowered_function"),
    M("generated: a changed function is not seen", "sweep/_plan.py", "    network = dataclasses.replace(network, generator=dataset.generator)\n", "", f"{GENERATED}::test_arms_see_the_same_examples_and_a_changed_function_is_seen"),
    M("data: a column of labels is refused", "data/_labels.py", "if array.ndim == 2 and array.shape[1] == 1:", "if False:", f"{DATA}::test_the_same_classes_however_they_are_written"),
    M("data: masks are ignored", "data/_arrays.py", "if isinstance(given, np.ma.MaskedArray):", "if False:", f"{DATA}::test_columns_that_are_no_numbers_are_named"),
    M("data: small spreads are constant", "data/_from_arrays.py", "spread > 2 * rounding * np.abs(x)", "spread > 1e-7 * np.abs(x)", f"{DATA}::test_features_of_a_small_relative_spread_are_standardized"),
    M("data: rounding is a spread", "data/_from_arrays.py", "spread > 2 * rounding * np.abs(x)", "spread > 0 * np.abs(x)", f"{DATA}::test_features_that_differ_by_rounding_are_constant"),
    M("data: a class on one side only", "data/_splits.py", "or one_sided(labels, train, test)):", "or False):", f"{DATA}::test_a_class_is_on_both_sides_of_every_split"),
    M("data: tokens are standardized", "data/_from_arrays.py", "if standardize is None and not names:", "if False:", f"{DATA}::test_columns_that_are_no_numbers_are_named"),
    M("schedule: constant shares a program", "sweep/_groups.py", "tuple(v for v in values if v != Grid.schedule),", "tuple(v for v in values if v != Grid.schedule and False),", f"{SCHEDULES}::test_an_arm_under_a_schedule_is_that_arm_alone"),
    M("schedule: one step late", "train/_traced_optimizer.py", "jnp.minimum(jnp.asarray(count), ", "jnp.minimum(jnp.asarray(count) + 1, ", f"{SCHEDULES}::test_a_run_is_the_loop_of_optax_with_its_schedule"),
    M("own loss: one noise for all steps", "train/losses.py", "            for number in numbers:\n                key = jax.random.fold_in(key, number)\n", "", f"{OBJECTIVES}::test_the_noise_of_a_loss_differs_by_step_and_by_seed_and_repeats"),
    M("own loss: parameters without a gradient", "train/losses.py", '{"params": params}', '{"params": jax.lax.stop_gradient(params)}', f"{OBJECTIVES}::test_a_gradient_uses_the_parameters_of_the_loss"),
    M("own loss: a loss without gradient passes", "sweep/_objectives.py", '    if "params" not in loss.takes:', '    if loss.takes is None:', f"{OBJECTIVES}::test_losses_that_are_refused_before_training"),
    M("own loss: a sum of examples", "train/_own_loss.py", "examples(outputs)).mean()", "examples(outputs)).sum()", f"{OBJECTIVES}::test_an_own_loss_trains_as_the_same_loss_by_name[single]"),
    M("regression: RMSE in standardized units", "train/_regression.py", "jnp.mean(jnp.sqrt(squared) * unit)", "jnp.mean(jnp.sqrt(squared))", f"{OBJECTIVES}::test_a_regression_is_reported_in_the_units_of_its_targets[1]"),
    M("regression: R² of all targets in one", "train/_regression.py", "variance = jnp.mean((y - y.mean(axis=0)) ** 2, axis=0)", "variance = jnp.mean((y - y.mean()) ** 2, axis=0)", f"{OBJECTIVES}::test_a_regression_is_reported_in_the_units_of_its_targets[3]"),
    M("regression: more MAE is better", "results/_metrics.py", '    *(name for name in REGRESSION if not name.endswith("r2")),\n', "", f"{OBJECTIVES}::test_directions_of_regression_metrics_are_known"),
    M("target: later steps count as first", "train/_fit.py", ' & (progress.steps_to_target < 0)', "", f"{OBJECTIVES}::test_steps_to_target_is_the_first_point_of_the_curve_that_reaches_it[test_loss<=0.8]"),
    M("target: at most is at least", "train/_target.py", 'found[2] == ">="', 'found[2] != "="', f"{OBJECTIVES}::test_steps_to_target_is_the_first_point_of_the_curve_that_reaches_it[test_loss<=0.8]"),
    M("stop at target: done lanes go on", "train/_early.py", "jax.tree.map(choose, after, carry)", "after", f"{OBJECTIVES}::test_a_stopped_run_does_not_depend_on_the_other_runs"),
    M("stop at target: the loop never ends early", "train/_early.py", "(number < count) & _any_lane(~done(carry))", "number < count", f"{OBJECTIVES}::test_a_loop_ends_with_its_last_lane"),
    M("smoothing: of the other classes alone", "train/_softened.py", "share / classes)", "share / (classes - 1))", f"{SOFTENED}::test_smoothed_labels_are_those_of_optax_and_torch"),
    M("class weights: by the most frequent class", "sweep/_objectives.py", "(len(counts) * np.maximum(counts, 1))", "np.maximum(counts, 1)", f"{SOFTENED}::test_balanced_weights_are_those_of_scikit_learn"),
    M("class weights: no effect on training", "train/losses.py", "        loss = dataclasses.replace(loss, function=loss.training)\n", "        pass\n", f"{SOFTENED}::test_weights_of_one_are_the_plain_loss_and_weights_of_a_class_help_the_class"),
    M("first loss: losses by name are not asked", "sweep/_first_loss.py", "if (result[\"first_bad_step\"] == 1).all():", "if False:", f"{OBJECTIVES}::test_a_loss_by_name_that_is_finite_for_no_run_stops_after_one_tile"),
    M("optimizer options: without effect", "train/_named.py", "options = dict(self.options)", "options = dict[str, float]()", f"{OPTIONS}::test_options_are_those_of_optax"),
    M("optimizer options: a default written out is another arm", "train/_options.py", "if number != full.get(name)", "if True", f"{OPTIONS}::test_bad_options_are_refused"),
    M("optimizer options: shares above 1", "train/_options.py", "high = max(0.9999999, known[name]) if _SHARE.fullmatch(name) else 3e38", "high = 3e38", f"{OPTIONS}::test_bad_options_are_refused"),
    M("trackers: MLflow gets names that it refuses", "sweep/_trackers.py", 'named = {_NOT_IN_MLFLOW.sub("_", name)', 'named = {name + "()"', "tests/sweep/test_trackers.py::test_a_sweep_is_one_run_of_a_tracker"),
    M("kept parameters: of another row", "sweep/_kept_parameters.py", "np.argsort(index.order(np.arange(program.runs)))", "np.arange(program.runs)", "tests/sweep/test_kept.py::test_the_parameters_of_a_row_have_the_losses_of_the_row"),
    M("kept parameters: rows that are taken lose theirs", "results/_table.py", "row: self.parameters[old]", "old: self.parameters[old]", "tests/sweep/test_kept.py::test_rows_that_are_taken_or_joined_keep_their_parameters"),
    M("kept parameters: the test set chooses", "sweep/_kept_parameters.py", 'return table["train_loss"]', 'return table["test_loss"]', "tests/sweep/test_kept.py::test_best_of_each_arm_and_seeds"),
    M("first loss: one bad run is enough", "sweep/_first_loss.py", "                if np.isfinite(value):", "                if np.isfinite(value) and False:", f"{OBJECTIVES}::test_a_loss_that_is_finite_for_no_run_is_refused_before_training"),
    M("own metric: a vector passes", "sweep/_objectives.py", "if len(found) != 1 or found[0].shape != ():", "if len(found) != 1:", f"{OBJECTIVES}::test_metrics_that_are_refused_before_training"),
    M("validation: best on the test set", "train/_fit.py", 'losses = curves["curve_validation_loss"]', 'losses = curves["curve_test_loss"]', f"{SCHEDULES}::test_the_best_step_is_chosen_by_the_validation_set"),
    M("switches: rank promotion stays the user's", "_switches.py", '    "numpy_rank_promotion": "allow",\n', "", f"{SWITCHES}::test_switches_are_set_for_jinit_alone_and_set_back"),
    M("switches: theory is not guarded", "theory/__init__.py", "\nguard(__name__)\n", "\n", f"{SWITCHES}::test_theory_under_strict_rules"),
    M("products: factors do not change places", "engine/_products.py", "(right, left) if turned else (left, right)", "(left, right)", "tests/engine/test_products.py::test_a_gradient_is_the_plain_one_and_its_products_are_rewritten[dense]"),
    M("products: loops are left alone", "engine/_products.py", '"scan", "closed_call")', '"closed_call")', "tests/engine/test_products.py::test_a_gradient_is_the_plain_one_and_its_products_are_rewritten[looped]"),
    M("convolutions: strides are forgotten", "engine/_convolutions.py", "lax.iota(np.int32, sizes[a])[:, None] * strides[a]", "lax.iota(np.int32, sizes[a])[:, None]", "tests/engine/test_convolutions.py::test_a_convolution_and_its_gradients_are_those_of_lax"),
    M("norm: sums of any length", "clipping/_norms.py", "columns if columns <= _MOST_TERMS else math.gcd(columns, _MOST_TERMS)", "columns", f"{CLIPPING}::test_the_norm_of_many_entries_is_right"),
]  # fmt: skip


def main(words: list[str]) -> int:
    """Runs the mutants whose description has one of the words, or all."""
    from _killers import run  # the table alone needs nothing that runs it

    chosen = [m for m in MUTANTS if not words or any(word in m.what for word in words)]
    if not chosen:
        print(
            f"jinit: no mutant's description has {' or '.join(map(repr, words))}", file=sys.stderr
        )
        return 2
    return run(chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

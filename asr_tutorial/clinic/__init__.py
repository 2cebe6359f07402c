"""The debugging clinic of chapter 14: twelve small training scripts, each of which had one mistake.

Here they are healthy. ``tests/mutants/14.k.py`` holds the mistake that each comes in with (``planted`` in
``chapters/course.toml``), and wrong cures. Every patient is a module with the functions that are to be repaired and
``run(seed=0)``, which trains for a second and returns what a doctor looks at, a
:class:`~asr_tutorial.clinic.visit.Visit`. ``chart`` leads from symptoms to causes.
"""

from __future__ import annotations

PATIENTS = (
    "no_eos",
    "pad_trained_on",
    "wrong_blank",
    "ctc_target_too_long",
    "mask_inverted",
    "lengths_not_subsampled",
    "teacher_forcing_shifted",
    "eval_mode_not_restored",
    "lm_raw_logits",
    "specaugment_in_padding",
    "scheduler_counts_batches",
    "sample_rate_ignored",
)
"""Modules of this package, in the order of exercises 14.1 to 14.12."""

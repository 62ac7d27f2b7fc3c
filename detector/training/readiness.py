"""Whether there is enough to train on, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping

MIN_LABELS, MIN_SAMPLES = 2, 2


def missing_sentence(counts: Mapping[str, int]) -> str | None:
    """What is missing before training can start, or None if nothing is.

    Parameters
    ----------
    counts : annotated samples by label name, labels without any included
    """
    if sum(count >= MIN_SAMPLES for count in counts.values()) >= MIN_LABELS:
        return None
    present = ", ".join(f"{name} {count}" for name, count in counts.items()) or "no labels"
    # The labels that need least come first; equal ones stay in the function's order.
    nearest = sorted(counts.items(), key=lambda item: -min(item[1], MIN_SAMPLES))[:MIN_LABELS]
    needs = [(MIN_SAMPLES - count, f"as {name}") for name, count in nearest if count < MIN_SAMPLES]
    needs += [(MIN_SAMPLES, "with another label")] * (MIN_LABELS - len(nearest))
    parts = [f"{need} more image{'s' if need > 1 else ''} {where}" for need, where in needs]
    return (
        f"Training needs two labels with at least {MIN_SAMPLES} samples each; so far: {present}. "
        f"Label at least {' and '.join(parts)}."
    )

"""Words that stand in stored rows: which part of a set a sample is in, and which view of a picture an embedding is of.

They are written once, here. A migration has its own copy, as it speaks of the rows of its time.
"""

from __future__ import annotations

from typing import Final, Literal

#: Part of the training, or put aside as the locked test set.
Split = Literal["train", "test"]
TRAIN: Final = "train"
TEST: Final = "test"

#: The whole picture, made smaller; and crops at full size, where it has more pixels than the network takes.
WHOLE: Final = "whole"
DETAIL: Final = "detail"

#: Kinds of jobs that nobody waits for: a model is live while they run.
IN_THE_BACKGROUND = (EVALUATE, COPIES) = ("evaluate", "copies")

#: The kind of job that judges many pictures at once.
INVOKE = "invoke"
#: Kinds of jobs that leave a function with the model and the predictions that it has.
NO_TRAINING = (*IN_THE_BACKGROUND, INVOKE)

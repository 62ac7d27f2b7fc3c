"""The function of the built-in sample, made the same way by the page's button, the command line and tests."""

from __future__ import annotations

from detector.datasets.builtin import photograph_paths
from detector.formatting import count, limit
from detector.importing.batch import sample_payload
from detector.jobs import request_import
from detector.operations.functions import create_function
from detector.storage import functions
from detector.storage.functions import Function
from detector.storage.room import require_room
from detector.training.thresholds import DEFAULT_FALSE_ACCUSATION_LIMIT, needed_samples
from detector.workspace import Workspace

SAMPLE_NAME = "Built-in sample (simulation)"
SAMPLE_LABELS = ("real", "synthetic")
#: The share of false accusations that it starts with. All patches of one photograph count as one different image, and
#: some fifteen photographs vouch for no threshold at the usual share: it could never say a label.
SAMPLE_FALSE_ACCUSATION_LIMIT = 0.2


def find_sample_function(ws: Workspace) -> Function | None:
    """The newest function that was made from the sample, whatever it is called now; None without one."""
    made = (item.function for item in functions.list_functions(ws.db) if item.function.is_simulation)
    return next(made, None)


def create_sample_function(ws: Workspace, backbone: str | None = None) -> Function:
    """A function for the sample, without its images yet: `sample_payload` imports them. Nothing follows.

    Parameters
    ----------
    backbone : str, optional
        As in `create_function`.

    Raises
    ------
    BackboneUnavailable, InvalidInput
        As in `create_function`.
    """
    return create_function(
        ws,
        SAMPLE_NAME,
        SAMPLE_LABELS,
        backbone,
        is_simulation=True,
        false_accusation_limit=SAMPLE_FALSE_ACCUSATION_LIMIT,
    )


def import_sample(ws: Workspace, backbone: str | None = None) -> Function:
    """Make the sample's function; the import of its images follows, and after that its model.

    Parameters
    ----------
    backbone : str, optional
        As in `create_function`.

    Raises
    ------
    BackboneUnavailable, InvalidInput
        As in `create_function`.
    TooLittleRoom
    """
    # Before there is a function that stays empty.
    require_room(ws.settings)
    function = create_sample_function(ws, backbone)
    request_import(ws, function.id, sample_payload(), "sample")
    return function


def sample_limit_note() -> str:
    """Why its limit of false accusations is another than that of a user's own function."""
    needed = needed_samples(DEFAULT_FALSE_ACCUSATION_LIMIT)
    return (
        f"It starts with a limit of {limit(SAMPLE_FALSE_ACCUSATION_LIMIT)} false accusations. Its images are patches "
        f"of {count(len(photograph_paths()), 'photograph')}, and all patches of one photograph count as one image. "
        f"Your own functions start with {limit(DEFAULT_FALSE_ACCUSATION_LIMIT)}, which needs {needed:,} "
        "different images of each label."
    )

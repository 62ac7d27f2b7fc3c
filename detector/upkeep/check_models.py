"""Models: each has its file, which opens, matches its checksum, and is of the labels and the backbone of its row."""

from __future__ import annotations

import time

from sqlalchemy import select, update

from detector.errors import ModelFileInvalid, NotFound, StoredModelUnusable
from detector.formatting import count
from detector.jobs import is_training, request_build
from detector.progress import Pace
from detector.serving.stored_models import fitting_model, stored_out_of_fold
from detector.storage import functions, models
from detector.storage.blobs import SET_ASIDE, WANTED_SECONDS
from detector.storage.leavings import list_leavings
from detector.storage.models import ModelRow
from detector.storage.schema import functions as functions_table
from detector.storage.schema import models as models_table
from detector.training.likeness import LikenessModel
from detector.training.unseen_scores import UnseenScores
from detector.upkeep.findings import MODELS, Check, run_repair, shown, some


def check_models(check: Check) -> None:
    """Look at all models of all functions."""
    ws = check.ws
    with ws.db.read() as connection:
        listed = connection.execute(
            select(functions_table.c.id, functions_table.c.name, functions_table.c.live_model_id)
        ).all()
    rows = [(function, row) for function in listed for row in models.list_models(ws.db, function.id)]
    pace = Pace(check.report, "models", len(rows), "Opening all models")
    for number, (function, row) in enumerate(rows, 1):
        # Deleted meanwhile, with its function, its files are to be gone.
        why = _why_unusable(check, row)
        if why and _is_there(check, row.id):
            _settle(check, function.name, row, why)
        elif not why and (lesser := _lesser_files(check, row)) and _is_there(check, row.id):
            _settle_lesser(check, function.name, row, lesser)
        pace.at(number)
    check.looked_at["models"] += len(rows)
    for function in listed:
        _check_live(check, function.id, function.name)
    _check_unnamed(check)


def _why_unusable(check: Check, row: ModelRow) -> str:
    try:
        model = fitting_model(check.ws, row)
        found = stored_out_of_fold(check.ws, row)
    except StoredModelUnusable as error:
        return f"its file is {error.state}."
    if len(model.label_names) != len(row.label_ids):
        return "its file is of another number of labels than its row says."
    if found is not None and found.probabilities.shape[1] != len(row.label_ids):
        return "its out-of-fold scores are of other labels than its row says."
    return ""


def _lesser_files(check: Check, row: ModelRow) -> list[str]:
    """Names of what lies next to a model, is no part of it, and cannot be read."""
    ws, found = check.ws, []
    kinds = (
        ("unseen", models.unseen_file, UnseenScores.from_bytes),
        ("likeness", models.likeness_file, LikenessModel.from_bytes),
    )
    for name, read, opened in kinds:
        data = read(ws.blobs, row.id)
        try:
            if data is not None:
                opened(data)
        except ModelFileInvalid:
            found.append(f"models/{row.id}.{name}.safetensors")
    return found


def _settle_lesser(check: Check, function_name: str, row: ModelRow, names: list[str]) -> None:
    what = f"{_named(function_name, row)}: what is stored with it of pictures from elsewhere cannot be read."
    if check.repair:
        for name in names:
            check.ws.blobs.stored.set_aside(name)
    done = f"Moved to the folder {SET_ASIDE}. The model answers without; the next training makes it again."
    check.found(MODELS, f"{what} {done if check.repair else run_repair()}", check.repair)


def _settle(check: Check, function_name: str, row: ModelRow, why: str) -> None:
    what = f"{_named(function_name, row)}: {why}"
    live = functions.find_live(check.ws.db, row.function_id)
    is_live = live is not None and live[0] == row.id
    if _is_known_lost(check, row.id) and (not is_live or is_training(check.ws, row.function_id)):
        # Said once: nothing needs it, and it cannot be deleted. Or a new one is on its way.
        check.looked_at["models known to be lost"] += 1
        return
    if check.repair:
        check.ws.blobs.stored.put(_known_lost(row.id), why.encode())
    if not is_live:
        known = "From now on it counts as lost." if check.repair else ""
        check.found(
            MODELS, f"{what} It is not the live one, which works without it. {check.from_backup()} {known}".strip()
        )
    elif check.repair:
        request_build(check.ws, row.function_id)
        check.found(MODELS, f"{what} It is the live one: a training that makes a new one was asked for.", True)
    else:
        check.found(MODELS, f"{what} It is the live one. To train a new one from the samples: {run_repair()}")


def _known_lost(model_id: str) -> str:
    return f"{SET_ASIDE}/{model_id}.lost"


def _is_known_lost(check: Check, model_id: str) -> bool:
    try:
        check.ws.blobs.stored.get(_known_lost(model_id))
    except NotFound:
        return False
    return True


def _named(function_name: str, row: ModelRow) -> str:
    return f"Model {row.version} of the function {shown(function_name)}"


def _is_there(check: Check, model_id: str) -> bool:
    try:
        models.get_model(check.ws.db, model_id)
    except NotFound:
        return False
    return True


def _check_live(check: Check, function_id: str, name: str) -> None:
    live = functions_table.c.live_model_id
    mine = models_table.c.function_id == functions_table.c.id
    lost = (
        (functions_table.c.id == function_id)
        & live.is_not(None)
        & live.not_in(select(models_table.c.id).where(mine).scalar_subquery())
    )
    with check.ws.db.read() as connection:
        if connection.scalar(select(functions_table.c.id).where(lost)) is None:
            return
    what = f"The function {shown(name)} says that a model is live which is not there."
    newest = next((row for row in models.list_models(check.ws.db, function_id) if not _why_unusable(check, row)), None)
    if check.repair:
        with check.ws.db.write([function_id]) as connection:
            connection.execute(
                update(functions_table).where(lost).values(live_model_id=newest.id if newest is not None else None)
            )
        request_build(check.ws, function_id)
        became = f"Its newest one, version {newest.version}, is live now" if newest is not None else "None is live now"
        check.found(MODELS, f"{what} {became}, and a build was asked for.", True)
    else:
        check.found(MODELS, f"{what} {run_repair()}")


def _check_unnamed(check: Check) -> None:
    """Files of models that no row names: of a training that was killed."""
    ws, moment = check.ws, time.time()
    old = [file.name for file in ws.blobs.stored.files("models") if file.changed < moment - WANTED_SECONDS]
    # Asked after looking, as files come before rows; a deletion that goes on has written down which are its own.
    with ws.db.read() as connection:
        known = set(connection.scalars(select(models_table.c.id)))
    known |= {model_id for left in list_leavings(ws.db) for model_id in left.model_ids}
    lost = [name for name in old if name.removeprefix("models/").partition(".")[0] not in known]
    if not lost:
        return
    what = f"{count(len(lost), 'model file')} that no model names ({some(lost, len(lost))})."
    if not check.repair:
        check.found(MODELS, f"{what} A training that was killed leaves such files. {run_repair()}")
        return
    for name in lost:
        ws.blobs.stored.set_aside(name)
    check.found(MODELS, f"{what} Moved to the folder {SET_ASIDE}; delete it if nobody misses them.", True)

"""Files that stand in the place of a model: nothing of them is ever run, and the reason is said."""

from __future__ import annotations

import ast
import dataclasses
import io
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.errors import ModelFileInvalid, StoredModelUnusable
from detector.pipeline.build import build, predict_all
from detector.serving import model as serving_model
from detector.serving.stored_models import is_usable
from detector.storage import functions, models
from detector.training.linear_model import LinearModel
from detector.training.model_file import read_model, write_model
from detector.workspace import Workspace
from tests.app_server import CHECKOUT
from tests.factories import labelled_function, workspace

#: What can run code while it is read, or stands for such a reader.
_LOADERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "skops"}


class Runs:
    """Makes a file when a pickle of it is read."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (self.sign,)  # type: ignore[return-value]


def _evil(sign: Path) -> dict[str, bytes]:
    """Files that make ``sign`` when they are read by what they were made for."""
    plain = pickle.dumps(Runs(sign))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as torch_file:
        torch_file.writestr("archive/data.pkl", plain)
        torch_file.writestr("archive/version", "3\n")
    numbers = io.BytesIO()
    np.save(numbers, np.array([Runs(sign)], dtype=object), allow_pickle=True)
    return {
        "pickle": plain,
        "pickle of protocol 0": pickle.dumps(Runs(sign), protocol=0),
        "joblib, packed": zlib.compress(plain),
        "torch": archive.getvalue(),
        "numpy objects": numbers.getvalue(),
        "code": b"import os\nos.system('touch sign')\n",
    }


def test_the_evil_files_would_run(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    pickle.loads(_evil(sign)["pickle"])
    assert sign.exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str, Path]:
    """A function with a model, and where the model's file lies."""
    ws = workspace(tmp_path_factory.mktemp("models"))
    function = labelled_function(ws, 4)
    build(ws, function.id)
    live = functions.get_function(ws.db, function.id).live_model_id
    return ws, function.id, ws.settings.data_dir / "blobs" / "models" / f"{live}.safetensors"


def _ask(ws: Workspace, function_id: str) -> None:
    # As after a restart.
    serving_model._cache.clear()
    predict_all(ws, function_id)


@pytest.mark.faults
@pytest.mark.parametrize("kind", list(_evil(Path("x"))))
def test_a_model_that_would_run_code_is_refused_by_its_content(
    trained: tuple[Workspace, str, Path], kind: str, tmp_path: Path
) -> None:
    """Renamed to what a model is called; the rows and the other files stay as they are."""
    ws, function_id, path = trained
    sign, good = tmp_path / "sign", path.read_bytes()
    before = models.list_models(ws.db, function_id)
    path.write_bytes(_evil(sign)[kind])
    try:
        with pytest.raises(StoredModelUnusable) as refused:
            _ask(ws, function_id)
    finally:
        path.write_bytes(good)
    assert "damaged" in str(refused.value)
    assert not sign.exists()
    assert models.list_models(ws.db, function_id) == before
    _ask(ws, function_id)


def _changed(model: LinearModel) -> dict[str, LinearModel]:
    broken = np.array(model.coefficients, copy=True)
    broken.flat[0] = np.nan
    return {
        "not a number": dataclasses.replace(model, coefficients=broken),
        "infinite": dataclasses.replace(model, intercept=model.intercept + np.inf),
        "wrong size": dataclasses.replace(model, coefficients=model.coefficients[:, :-1]),
        "a label too many": dataclasses.replace(model, label_names=(*model.label_names, "third")),
        "one label twice": dataclasses.replace(model, label_names=(model.label_names[0],) * 2),
    }


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["not a number", "infinite", "wrong size", "a label too many", "one label twice"])
def test_a_model_whose_numbers_do_not_fit_is_refused_though_its_checksum_is_right(
    trained: tuple[Workspace, str, Path], kind: str
) -> None:
    ws, function_id, path = trained
    good = path.read_bytes()
    forged = write_model(_changed(read_model(good))[kind])
    with pytest.raises(ModelFileInvalid) as said:
        read_model(forged)
    assert str(said.value).endswith(".")
    path.write_bytes(forged)
    try:
        with pytest.raises(StoredModelUnusable):
            _ask(ws, function_id)
    finally:
        path.write_bytes(good)


def _of_another_model(model: LinearModel) -> dict[str, LinearModel]:
    return {
        "labels the other way round": dataclasses.replace(model, label_names=model.label_names[::-1]),
        "another backbone": dataclasses.replace(model, backbone_key="clip-vit-b-32-0123456789ab"),
        "other labels": dataclasses.replace(model, label_names=("cat", "dog")),
    }


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["labels the other way round", "another backbone", "other labels"])
def test_a_whole_model_of_another_function_is_refused_and_one_is_trained_in_its_place(
    trained: tuple[Workspace, str, Path], kind: str
) -> None:
    """The kind: a file that is right in itself lay in another one's place. Its verdicts were turned round."""
    ws, function_id, path = trained
    good = path.read_bytes()
    path.write_bytes(write_model(_of_another_model(read_model(good))[kind]))
    try:
        with pytest.raises(StoredModelUnusable) as refused:
            _ask(ws, function_id)
        assert refused.value.state == "of another model"
        assert not is_usable(ws, models.list_models(ws.db, function_id)[0])
    finally:
        path.write_bytes(good)
    _ask(ws, function_id)


def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


@pytest.mark.slow
def test_nothing_in_the_product_imports_a_loader_that_runs_code() -> None:
    found = []
    files = [*(CHECKOUT / "detector").rglob("*.py"), *(CHECKOUT / "pages").rglob("*.py"), CHECKOUT / "streamlit_app.py"]
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            module = getattr(node, "module", None) or ""
            if {name.partition(".")[0] for name in (*names, module)} & _LOADERS:
                found.append(f"{path}: {ast.unparse(node)}")
        for call in _calls(tree):
            name = ast.unparse(call.func)
            arguments = {item.arg: ast.unparse(item.value) for item in call.keywords}
            if name == "torch.load" and arguments.get("weights_only") != "True":
                found.append(f"{path}: {ast.unparse(call)}")
            if name.endswith((".load", ".read_pickle")) and arguments.get("allow_pickle", "False") != "False":
                found.append(f"{path}: {ast.unparse(call)}")
    assert found == []

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.errors import ModelFileInvalid
from detector.training.model_file import read_model, write_model
from detector.training.options import SweepSettings
from detector.training.train import train
from tests.training.factories import training_data


@pytest.fixture(scope="module")
def model():
    data = training_data((12, 12, 12), 6, detail=True, names=["real", "synthetic", 'odd "checksum":" name'])
    trained = train(data, SweepSettings(views=("both",), c=(1.0,))).model
    return dataclasses.replace(trained, thresholds={"real": 0.7})


def test_a_model_survives_the_file_to_the_last_bit(model):
    extra = {"function": "Größe", "hyperparameters": {"c": 1.0}}
    data = write_model(model, extra)
    found = read_model(data)
    for field in dataclasses.fields(model):
        before, after = getattr(model, field.name), getattr(found, field.name)
        assert np.array_equal(before, after) if isinstance(before, np.ndarray) else before == after
    length = int.from_bytes(data[:8], "little")
    assert json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["model"])["extra"] == extra
    embeddings = training_data((5, 5, 5), 6, seed=9, detail=True).views
    assert np.array_equal(found.predict_proba(embeddings), model.predict_proba(embeddings))


def test_the_same_model_gives_the_same_bytes(model):
    assert write_model(model, {"a": 1}) == write_model(read_model(write_model(model)), {"a": 1})


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_noticed(model, data):
    good = write_model(model)
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ModelFileInvalid) as caught:
        read_model(bytes(bad))
    assert str(caught.value).endswith(".")


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_cut_off_or_lengthened_file_is_noticed(model, data):
    good = write_model(model)
    bad = good[: data.draw(st.integers(0, len(good) - 1))] if data.draw(st.booleans()) else good + b"\0"
    with pytest.raises(ModelFileInvalid):
        read_model(bad)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused(data):
    with pytest.raises(ModelFileInvalid):
        read_model(data)


def test_other_safetensors_files_are_refused():
    data = safetensors.numpy.save({"weight": np.zeros(3)}, metadata={"model": "{}"})
    with pytest.raises(ModelFileInvalid):
        read_model(data)


@pytest.mark.parametrize(
    "change",
    [
        {"label_names": ("real", "synthetic")},
        {"label_names": ("real", "real", "synthetic")},
        {"mean": np.zeros(3)},
        {"intercept": np.array([0.0, np.inf, 0.0])},
        {"scale": np.zeros(12)},
        {"temperature": 0.0},
        {"temperature": "hot"},
        {"scaling": "none"},
        {"slices": ((0, 99),)},
        {"slices": "ab"},
        {"views": ()},
        {"label_names": None},
        {"thresholds": {"unknown": 0.5}},
    ],
)
def test_a_file_with_a_right_checksum_but_contents_that_do_not_fit_is_refused(model, change):
    with pytest.raises(ModelFileInvalid):
        read_model(write_model(dataclasses.replace(model, **change)))


def test_a_newer_version_says_so(model, monkeypatch):
    monkeypatch.setattr("detector.training.model_file.FORMAT_VERSION", 2)
    data = write_model(model)
    monkeypatch.undo()
    with pytest.raises(ModelFileInvalid) as caught:
        read_model(data)
    assert "Update the program" in str(caught.value)

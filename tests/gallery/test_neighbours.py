"""The nearest samples: the right ones, none from the bin, and always of the newest index."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.gallery.neighbours import Neighbour, nearest, nearest_to
from detector.gallery.projection import DIMENSIONS, Projection
from detector.imaging import decode_image
from detector.pipeline.build import build
from detector.serving.invoke import examine
from detector.serving.model import load_serving_model, serving_backbone
from detector.settings import Settings
from detector.storage import embeddings, functions, samples, trash
from detector.storage.functions import Function
from detector.workspace import Workspace
from tests.databases import database_url
from tests.factories import add_images, labelled_function, make_image, near_duplicate, png, workspace


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace(tmp_path_factory.mktemp("neighbours"))


def _built(ws: Workspace) -> tuple[Function, dict[str, str]]:
    """A function with a picture and its near-duplicate among others, and the sample ids by file name."""
    function = labelled_function(ws, 8)
    twin = near_duplicate(make_image(0, "real"))
    add_images(ws, function, [("twin.png", twin, "real")])
    assert build(ws, function.id).model is not None
    return function, {row.file_name: row.id for row in samples.find_samples(ws.db, function.id)}


def _exact(ws: Workspace, function: Function) -> tuple[list[str], np.ndarray]:
    """Sample ids, and all similarities as they are defined: cosines of the embeddings minus their mean."""
    rows = samples.training_rows(ws.db, function.id)
    live = functions.get_function(ws.db, function.id).live_model_id
    with ws.db.read() as connection:
        key = connection.exec_driver_sql(f"SELECT backbone_key FROM models WHERE id = '{live}'").scalar_one()
    numbers = embeddings.read_embeddings(ws.db, key, [row.image_hash for row in rows])["whole"].astype(np.float64)
    numbers -= numbers[:1024].mean(axis=0)
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    return [row.sample_id for row in rows], numbers @ numbers.T


@pytest.mark.slow
def test_a_near_duplicate_is_the_nearest_and_the_similarity_is_the_exact_one(ws: Workspace) -> None:
    function, ids = _built(ws)
    found = nearest(ws, function.id, ids["real-0.png"])
    assert len(found) == 5
    assert found[0].sample_id == ids["twin.png"]
    assert found[0].similarity > 0.99 > found[1].similarity
    names, similarity = _exact(ws, function)
    place = names.index(ids["real-0.png"])
    order = [i for i in np.argsort(-similarity[place], kind="stable") if i != place][:5]
    assert [item.sample_id for item in found] == [names[i] for i in order]
    assert [item.similarity for item in found] == pytest.approx(similarity[place][order], abs=1e-5)


def test_as_many_as_asked_for_and_no_more_than_there_are(ws: Workspace) -> None:
    function, ids = _built(ws)
    assert len(nearest(ws, function.id, ids["twin.png"], 2)) == 2
    everything = nearest(ws, function.id, ids["twin.png"], 500)
    assert {item.sample_id for item in everything} == set(ids.values()) - {ids["twin.png"]}


def test_what_lies_in_the_bin_is_nobodys_neighbour_and_comes_back(ws: Workspace) -> None:
    function, ids = _built(ws)
    trash.delete_samples(ws.db, function.id, [ids["twin.png"]])
    assert ids["twin.png"] not in {item.sample_id for item in nearest(ws, function.id, ids["real-0.png"], 500)}
    assert nearest(ws, function.id, ids["twin.png"])[0].sample_id == ids["real-0.png"]
    trash.restore_samples(ws.db, function.id, [ids["twin.png"]])
    assert nearest(ws, function.id, ids["real-0.png"])[0].sample_id == ids["twin.png"]


def test_what_was_removed_for_good_is_neither_asked_about_nor_found(ws: Workspace) -> None:
    function, ids = _built(ws)
    trash.delete_samples(ws.db, function.id, [ids["twin.png"]])
    trash.empty_bin(ws.db, function.id)
    assert nearest(ws, function.id, ids["twin.png"]) == []
    found = nearest(ws, function.id, ids["real-0.png"])
    assert len(found) == 5
    assert ids["twin.png"] not in {item.sample_id for item in found}


def test_a_sample_that_came_after_the_predictions_has_none_until_they_are_written_again(ws: Workspace) -> None:
    """The index in memory used by the first question must not be used for the last one."""
    function, ids = _built(ws)
    assert nearest(ws, function.id, ids["twin.png"])
    add_images(ws, function, [("late.png", near_duplicate(make_image(1, "real")), None)])
    late = next(row.id for row in samples.find_samples(ws.db, function.id) if row.file_name == "late.png")
    assert nearest(ws, function.id, late) == []
    build(ws, function.id)
    assert nearest(ws, function.id, late)[0].sample_id == ids["real-1.png"]


def test_without_predictions_and_for_unknown_samples_there_are_none(ws: Workspace) -> None:
    function, ids = _built(ws)
    untrained = labelled_function(ws, 1)
    [first, *_] = samples.find_samples(ws.db, untrained.id)
    assert nearest(ws, untrained.id, first.id) == []
    assert nearest(ws, function.id, first.id) == []
    assert nearest(ws, function.id, "") == []
    assert nearest(ws, "nothing", ids["twin.png"]) == []


def test_two_functions_have_indices_of_their_own(ws: Workspace) -> None:
    first, ids = _built(ws)
    second, others = _built(ws)
    for function, known in ((first, ids), (second, others), (first, ids)):
        found: list[Neighbour] = nearest(ws, function.id, known["twin.png"])
        assert {item.sample_id for item in found} <= set(known.values())


def test_labels_play_no_part(ws: Workspace) -> None:
    function, ids = _built(ws)
    add_images(ws, function, [("unlabelled.png", near_duplicate(make_image(2, "real")), None)])
    build(ws, function.id)
    names = {row.id: row.file_name for row in samples.find_samples(ws.db, function.id)}
    assert names[nearest(ws, function.id, ids["real-2.png"])[0].sample_id] == "unlabelled.png"


def test_a_large_common_mean_does_not_make_everything_alike() -> None:
    rng = np.random.default_rng(0)
    embeddings = (rng.standard_normal((500, 40)) + 50).astype(np.float32)
    projection = Projection.fit(embeddings)
    raw = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert np.median(raw[0] @ raw[1:].T) > 0.99
    even = projection.even(embeddings)
    assert abs(np.median(even[0] @ even[1:].T)) < 0.1
    # Nothing is lost where there are no more numbers than are kept.
    compact = projection.compact(embeddings).astype(np.float32)
    np.testing.assert_allclose(compact @ compact.T, even @ even.T, atol=2e-3)


def test_one_sample_and_samples_that_are_all_the_same_are_no_fault() -> None:
    for count in (1, 3):
        same = np.full((count, 300), 7.0, np.float32)
        projection = Projection.fit(same)
        assert np.isfinite(projection.compact(same)).all()
        assert np.isfinite(projection.even(same)).all()


def test_many_numbers_are_kept_as_few(ws: Workspace) -> None:
    numbers = np.random.default_rng(0).standard_normal((1500, 600), dtype=np.float32)
    compact = Projection.fit(numbers).compact(numbers)
    assert compact.shape == (1500, DIMENSIONS)
    assert compact.dtype == np.float16


@pytest.mark.long
@pytest.mark.slow
def test_on_2000_real_pictures_nearly_all_of_the_five_nearest_are_found(mixed2000_data: Path) -> None:
    """Measured: all of them. The compact index alone would find 85 %."""
    ws = Workspace.open(Settings(data_dir=mixed2000_data, database_url=database_url(mixed2000_data)))
    function = functions.find_function(ws.db, "mixed2000")
    names, similarity = _exact(ws, function)
    np.fill_diagonal(similarity, -np.inf)
    hits = 0
    asked = range(0, len(names), 20)
    for place in asked:
        expected = {names[i] for i in np.argsort(-similarity[place], kind="stable")[:5]}
        hits += len(expected & {item.sample_id for item in nearest(ws, function.id, names[place])})
    assert hits / (5 * len(asked)) >= 0.98


def _views(ws: Workspace, function: Function, data: bytes) -> tuple[dict[str, np.ndarray], str]:
    serving = load_serving_model(ws, function.id)
    decoded = decode_image(data, "asked.png", ws.limits)
    examined = examine(ws, serving, serving_backbone(ws, serving), "asked.png", decoded)
    return examined.views, serving.row.backbone_key


@pytest.mark.slow
def test_a_picture_that_is_no_sample_has_annotated_neighbours_with_label_and_file_name(ws: Workspace) -> None:
    function, ids = _built(ws)
    add_images(ws, function, [("unlabelled.png", near_duplicate(make_image(3, "real")), None)])
    build(ws, function.id)
    pixels = np.array(Image.open(io.BytesIO(make_image(3, "real"))))
    pixels[5, 5] ^= 1
    views, key = _views(ws, function, png(pixels))
    found = nearest_to(ws, function.id, views, backbone_key=key)
    assert len(found) == 5
    assert (found[0].sample_id, found[0].label, found[0].file_name) == (ids["real-3.png"], "real", "real-3.png")
    assert found[0].similarity > 0.99 > found[1].similarity
    assert "unlabelled.png" not in {item.file_name for item in found}
    assert [item.similarity for item in found] == sorted((item.similarity for item in found), reverse=True)
    assert found[0].to_json().keys() == {"sample", "label", "distance", "file"}
    assert found[0].to_json()["distance"] < 0.01
    assert len(nearest_to(ws, function.id, views, 500)) == 17


def test_a_sample_asked_about_by_its_embedding_has_the_neighbours_that_it_has_by_its_id(ws: Workspace) -> None:
    function, ids = _built(ws)
    views, _ = _views(ws, function, make_image(0, "real"))
    [itself, *others] = nearest_to(ws, function.id, views, 6)
    assert itself.sample_id == ids["real-0.png"]
    assert [item.sample_id for item in others] == [
        item.sample_id for item in nearest(ws, function.id, itself.sample_id)
    ]


def test_what_is_in_the_bin_or_of_another_backbone_is_near_to_no_picture(ws: Workspace) -> None:
    function, ids = _built(ws)
    views, key = _views(ws, function, make_image(0, "real"))
    trash.delete_samples(ws.db, function.id, [ids["twin.png"]])
    assert ids["twin.png"] not in {item.sample_id for item in nearest_to(ws, function.id, views, 500)}
    assert nearest_to(ws, function.id, views, backbone_key=f"another {key}") == []
    assert nearest_to(ws, function.id, {"whole": views["whole"][:100]}) == []


def test_before_the_first_predictions_no_sample_is_near_to_a_picture(ws: Workspace) -> None:
    function, _ = _built(ws)
    views, _ = _views(ws, function, make_image(0, "real"))
    assert nearest_to(ws, labelled_function(ws, 1).id, views) == []

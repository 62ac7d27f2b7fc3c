"""Posts from many threads are written together, and each gets its own answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from detector.errors import Conflict, InvalidInput, NotAnImage, NotFound
from detector.importing.posting import Post, SamplePoster
from detector.importing.storing import store_image
from detector.storage import functions, imports, jobs, leavings, samples, trash
from detector.storage.posted_samples import PostedSample, add_posted
from tests.factories import empty_function, label_ids, make_image, workspace
from tests.faulty_disk import image_files


def test_posts_of_many_threads_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    poster = SamplePoster(ws)
    pictures = [make_image(seed, size=24) for seed in range(40)]

    def post(data: bytes) -> str:
        try:
            return poster.post(Post(function.id, data, "a.png", "real"))
        except Conflict as error:
            return error.existing_id

    with ThreadPoolExecutor(10) as pool:
        ids = list(pool.map(post, [*pictures, *pictures]))
    assert ids[:40] == ids[40:]
    assert samples.count_by(ws.db, function.id).by_label == {label_ids(ws, function)["real"]: 40}
    # One batch tells where they came from, and two jobs wait: for the embedding, and for the build after the pause.
    [batch] = imports.list_batches(ws.db, function.id)
    assert (batch.origin, imports.batch_counts(ws.db, batch.id).imported) == ("api", 40)
    assert len(jobs.list_jobs(ws.db, function.id)) == 2
    ws.close()


def test_a_refused_post_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    poster = SamplePoster(ws)
    for post, error in (
        (Post(function.id, make_image(1), label_name="nobody"), InvalidInput),
        (Post(function.id, b"text"), NotAnImage),
        (Post("0000", make_image(1)), NotFound),
    ):
        with pytest.raises(error):
            poster.post(post)
    assert samples.count_samples(ws.db, function.id) == 0
    assert jobs.list_jobs(ws.db, function.id) == []
    assert image_files(tmp_path / "blobs") == set()
    ws.close()


def test_bytes_whose_label_went_while_they_were_stored_are_cleared_away_with_the_bin(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    image = store_image(ws, make_image(1), "a.png")
    [refused] = add_posted(ws.db, [PostedSample(function.id, image, "a.png", "gone meanwhile", None, ())])
    assert isinstance(refused, InvalidInput)
    assert image_files(tmp_path / "blobs") == {image.image_hash}
    assert leavings.unused_images(ws.db) == [image.image_hash]
    ws.close()


def test_a_binned_sample_posted_again_is_a_new_one(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    poster = SamplePoster(ws)
    first = poster.post(Post(function.id, make_image(1), label_name="real", external_id="a"))
    trash.delete_samples(ws.db, function.id, [first])
    second = poster.post(Post(function.id, make_image(1), sample_sets=("x",)))
    found = samples.get_sample(ws.db, second)
    assert (found.label_id, found.external_id, found.sample_sets) == (None, None, ["x"])
    assert second != first
    functions.delete_function(ws.db, function.id)
    ws.close()

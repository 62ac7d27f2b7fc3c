"""The public client of the API that this server is compatible with, unmodified, against the real server."""

from __future__ import annotations

import base64
import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from tests.api.server import Server
from tests.factories import LABELS, make_image

pytestmark = pytest.mark.slow

nyckel = pytest.importorskip("nyckel", reason="the nyckel client of requirements-dev.txt is not installed")

#: The client's list calls find the host only by ":5000" or ".com".
PORT = 5000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"something else listens on port {PORT}, the only one that the client works with")
    running = Server(tmp_path_factory.mktemp("nyckel"), port=PORT)
    yield running
    running.stop()
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module")
def credentials(server: Server) -> object:
    return nyckel.Credentials(server.key.id, server.key.secret, server.address)


@pytest.fixture
def function(credentials: object) -> Iterator[object]:
    made = nyckel.ImageClassificationFunction.create("From the client", credentials)
    yield made
    made.delete()


def picture(seed: int, label: str = "real") -> Image.Image:
    return Image.open(io.BytesIO(make_image(seed, label)))


def wait_until_trained(function: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not function.has_trained_model():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_wrong_credentials_are_refused(server: Server) -> None:
    with pytest.raises(ValueError, match="Failed to renew credentials"):
        nyckel.Credentials(server.key.id, "wrong", server.address).token  # noqa: B018


def test_a_function_is_made_found_and_deleted(credentials: object) -> None:
    made = nyckel.ImageClassificationFunction.create("Cats", credentials)
    again = nyckel.ImageClassificationFunction(f"function_{made.function_id}", credentials)
    assert (again.name, again.sample_count, again.label_count) == ("Cats", 0, 0)
    again.delete()
    with pytest.raises(ValueError, match="404"):
        nyckel.ImageClassificationFunction(made.function_id, credentials)


def test_the_clients_own_project_set_up_works(credentials: object) -> None:
    session = credentials.get_session()
    assert len(session.get(f"{credentials.server_url}/v0.9/projects").json()) > 0
    assert session.post(f"{credentials.server_url}/v0.9/projects", json={"name": "mine"}).status_code == 200


def test_labels_keep_description_and_metadata_and_can_be_changed(function: object) -> None:
    label = nyckel.ClassificationLabel(name=" Nicer ", description="Very nice", metadata={"how nice?": "very"})
    plain_id, nicer_id = function.create_labels(["Nice", label])
    back = function.read_label(nicer_id)
    assert (back.name, back.description, back.metadata) == ("Nicer", "Very nice", {"how nice?": "very"})
    assert function.read_label(plain_id).description is None
    # A name that is there already gives the id that it has.
    assert function.create_labels(["Nice"]) == [plain_id]
    function.update_label(nyckel.ClassificationLabel(name="Nicest", id=nicer_id))
    assert {item.name for item in function.list_labels()} == {"Nice", "Nicest"}
    assert function.read_label(nicer_id).description == "Very nice"
    function.delete_labels([plain_id, nicer_id])
    assert function.list_labels() == []


def test_samples_come_as_images_paths_and_data_uris(function: object, tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    picture(3).save(file)
    sample = nyckel.ImageClassificationSample(
        data=nyckel.ImageEncoder().to_base64(picture(4)),
        external_id="mine",
        annotation=nyckel.ClassificationAnnotation(label_name="Boo"),
        sample_sets=[nyckel.functions.classification.classification.ClassificationSampleSet(id="set1")],
    )
    ids = function.create_samples([picture(1), (picture(2), "Nice"), str(file), (str(file), "Nice"), sample])
    assert len(ids) == 5
    assert ids[2] == ids[3]
    assert {item.name for item in function.list_labels()} == {"Nice", "Boo"}
    back = function.read_sample(ids[4])
    assert (back.external_id, back.annotation.label_name) == ("mine", "Boo")
    assert [item.id for item in back.sample_sets] == ["set1"]
    # Whichever of two equal posts came second changed nothing.
    shown = nyckel.ImageDecoder().to_image(back.data)
    assert shown.size == (80, 80)
    # The client encodes even a data URI anew before it sends it.
    sent = nyckel.functions.utils.ImageSampleBodyTransformer()(sample.data)
    posted = base64.b64decode(sent.split(",")[1])
    assert requests.get(back.data, timeout=120).content == posted


def test_the_same_image_again_is_the_same_sample(function: object) -> None:
    first = function.create_samples([picture(1), picture(2)])
    assert function.create_samples([picture(1), picture(2)]) == first
    mixed = function.create_samples([picture(1), picture(5), picture(2)])
    assert [mixed[0], mixed[2]] == first
    twice = function.create_samples([picture(6), picture(6)])
    assert twice[0] == twice[1]
    assert function.sample_count == 4


def test_an_annotation_is_removed_and_given_anew(function: object) -> None:
    function.create_labels(["Nice", "Bad"])
    [sample_id] = function.create_samples([(picture(1), "Nice")])
    sample = function.read_sample(sample_id)
    assert sample.annotation.label_name == "Nice"
    sample.annotation = None
    function.update_annotation(sample)
    assert function.read_sample(sample_id).annotation is None
    sample.annotation = nyckel.ClassificationAnnotation(label_name="Bad")
    function.update_annotation(sample)
    assert function.read_sample(sample_id).annotation.label_name == "Bad"


def test_samples_are_listed_newest_first_and_deleted_in_parallel(function: object) -> None:
    function.create_samples([picture(seed) for seed in range(10)])
    [newest] = function.create_samples([picture(99)])
    listed = function.list_samples()
    assert len(listed) == 11
    assert listed[0].id == newest
    function.delete_samples([sample.id for sample in listed])
    assert function.list_samples() == []


@pytest.mark.long
@pytest.mark.slow
def test_more_samples_than_one_page_holds_are_all_listed(function: object) -> None:
    # Noise of 8 px: the point is the number. Beyond 1,000 the client follows the Link header.
    noise = np.random.default_rng(0).integers(0, 256, (1010, 8, 8, 3), dtype=np.uint8)
    ids = function.create_samples([Image.fromarray(pixels) for pixels in noise])
    assert len(set(ids)) == 1010
    listed = [sample.id for sample in function.list_samples()]
    assert sorted(listed) == sorted(ids)


def test_a_function_is_trained_and_invoked(function: object) -> None:
    assert not function.has_trained_model()
    [early] = function.invoke([nyckel.ImageEncoder().to_base64(picture(50))])
    assert isinstance(early, nyckel.ClassificationPredictionError)
    function.create_samples([(picture(seed, label), label) for seed in range(3) for label in LABELS] + [picture(77)])
    wait_until_trained(function)
    uris = [nyckel.ImageEncoder().to_base64(picture(seed, "synthetic")) for seed in range(50, 73)]
    [one] = function.invoke(uris[:1])
    assert isinstance(one, nyckel.ClassificationPrediction)
    assert one.label_name in LABELS
    assert 0.5 <= one.confidence <= 1
    many = function.invoke(uris)
    assert [type(item) for item in many] == [nyckel.ClassificationPrediction] * 23
    assert many[0] == one
    assert all(sample.prediction is not None for sample in function.list_samples())

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from detector.backbones import hub
from detector.backbones.availability import (
    automatic_order,
    availability,
    checkpoints,
    choose_precision,
    get_backbone,
    resolve,
)
from detector.backbones.bfloat16 import calculates_bfloat16
from detector.backbones.graphics_card import has_graphics_card
from detector.backbones.registry import DEFAULT_CLIP, GRAPHICS_CARD_CLIP, OFFLINE, get_spec
from detector.errors import BackboneUnavailable, InvalidInput
from detector.settings import Settings
from tests.backbones.small_clip import SmallClip, make_small_clip
from tests.factories import forget_whether_the_hub_answers

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _fresh_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # An empty cache and a closed port stand for a machine that never had a network, wherever the tests run.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{unused_port()}")
    forget_whether_the_hub_answers()
    yield
    forget_whether_the_hub_answers()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallClip:
    return make_small_clip(tmp_path_factory.mktemp("clip"))


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def answering_hub(status: int = 200) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@contextmanager
def silent_hub() -> Iterator[str]:
    """Accepts connections and never says a word, as a filtered network does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_the_answer_of_the_hub_is_kept_for_a_minute() -> None:
    with answering_hub() as (address, asked):
        assert [hub.hub_reachable(endpoint=address) for _ in range(3)] == [True] * 3
    assert len(asked) == 1


def test_a_hub_that_answers_with_an_error_does_not_count() -> None:
    with answering_hub(status=503) as (address, _):
        assert not hub.hub_reachable(endpoint=address)


def test_a_silent_hub_costs_the_deadline_and_no_more() -> None:
    """Kind: a time asserted. A silent hub is compared with itself under a longer deadline."""
    took = []
    for deadline in (0.5, 4.0):
        with silent_hub() as address:
            start = time.monotonic()
            assert not hub.hub_reachable(timeout=deadline, endpoint=address)
            took.append(time.monotonic() - start)
    assert took[0] < took[1]


@pytest.mark.long
def test_auto_without_a_network_settles_on_the_offline_backbone_within_one_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with silent_hub() as address:
        start = time.monotonic()
        assert not hub.hub_reachable(endpoint=address)
        one = time.monotonic() - start
    forget_whether_the_hub_answers()
    with silent_hub() as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        start = time.monotonic()
        found = resolve("auto", Settings())
        assert time.monotonic() - start < 1.8 * one
    assert found.spec.id == OFFLINE
    assert "the model hub does not answer" in found.sentence


def test_auto_takes_clip_when_the_hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering_hub() as (address, _):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        found = resolve("auto", Settings())
    expected = GRAPHICS_CARD_CLIP if has_graphics_card() else DEFAULT_CLIP
    assert found.spec.id == expected
    assert ("2,685 MB" if expected == GRAPHICS_CARD_CLIP else "605 MB") in found.sentence
    assert ("which has a graphics card" in found.sentence) is has_graphics_card()


@pytest.mark.parametrize(
    ("files", "card", "expected"),
    [
        ([], False, [DEFAULT_CLIP]),
        ([], True, [GRAPHICS_CARD_CLIP, DEFAULT_CLIP]),
        (["small"], False, ["small", DEFAULT_CLIP]),
        # A file that somebody gave is what they want used, on any machine.
        (["small"], True, ["small", GRAPHICS_CARD_CLIP, DEFAULT_CLIP]),
        ([DEFAULT_CLIP], True, [DEFAULT_CLIP, GRAPHICS_CARD_CLIP]),
        ([GRAPHICS_CARD_CLIP], False, [GRAPHICS_CARD_CLIP, DEFAULT_CLIP]),
    ],
)
def test_auto_prefers_a_given_file_then_the_strongest_network_where_there_is_a_card(
    files: list[str], card: bool, expected: list[str]
) -> None:
    assert automatic_order(files, card) == expected


def test_the_sentence_of_a_choice_says_what_its_licence_allows(tmp_path: Path) -> None:
    file = tmp_path / "metaclip.pt"
    file.touch()
    found = resolve("metaclip2-h-14", Settings(clip_checkpoint=f"metaclip2-h-14:{file}"))
    assert found.sentence.endswith("Its licence allows non-commercial use only.")
    assert resolve("auto", Settings(clip_checkpoint=f"metaclip2-h-14:{file}")).sentence.endswith("use only.")
    assert "licence" not in resolve(OFFLINE, Settings()).sentence


def test_auto_takes_a_local_checkpoint_first(small: SmallClip) -> None:
    found = resolve("auto", Settings(clip_checkpoint=small.setting))
    assert found.spec == small.spec
    assert str(small.checkpoint) in found.sentence


def test_auto_says_that_a_configured_checkpoint_is_missing(tmp_path: Path) -> None:
    found = resolve("auto", Settings(clip_checkpoint=f"{DEFAULT_CLIP}:{tmp_path / 'gone.pt'}"))
    assert found.spec.id == OFFLINE
    assert "gone.pt, which does not exist" in found.sentence


def test_weights_in_the_hubs_cache_need_no_network(tmp_path: Path) -> None:
    spec = get_spec(DEFAULT_CLIP)
    assert not availability(spec, Settings()).available
    repository = tmp_path / "hub" / ("models--" + spec.hub_repo.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    weights = repository / "snapshots" / "abc" / "open_clip_model.safetensors"
    weights.write_bytes(b"weights")
    assert hub.cached_weights(spec) == weights
    assert availability(spec, Settings()).how == "cache"
    assert resolve("auto", Settings()).spec == spec


@pytest.mark.parametrize("backbone_id", [DEFAULT_CLIP, "pe-core-l-14-336"])
def test_an_explicit_choice_without_network_fails_with_a_sentence(backbone_id: str) -> None:
    with pytest.raises(BackboneUnavailable) as chosen:
        resolve(backbone_id, Settings())
    with pytest.raises(BackboneUnavailable) as loaded:
        get_backbone(backbone_id, "float32", Settings())
    assert str(chosen.value) == str(loaded.value)
    assert "the model hub does not answer" in str(chosen.value)
    assert OFFLINE in chosen.value.remedy


def test_the_offline_backbone_is_always_there() -> None:
    assert availability(get_spec(OFFLINE), Settings()).how == "package"
    assert resolve(OFFLINE, Settings()).spec.id == OFFLINE


def test_several_checkpoints_may_be_given() -> None:
    setting = f"{DEFAULT_CLIP}:/a/b.pt; pe-core-t-16-384:C:\\weights\\t.pt;"
    assert checkpoints(Settings(clip_checkpoint=setting)) == {
        DEFAULT_CLIP: Path("/a/b.pt"),
        "pe-core-t-16-384": Path("C:\\weights\\t.pt"),
    }


@pytest.mark.parametrize("setting", ["/weights.pt", "no-such-id:/weights.pt", f"{OFFLINE}:/w.pt", f"{DEFAULT_CLIP}:"])
def test_a_malformed_checkpoint_setting_is_named(setting: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        resolve("auto", Settings(clip_checkpoint=setting))
    assert setting.split(":")[0] in str(caught.value)


def test_an_unknown_backbone_or_precision_is_refused(small: SmallClip) -> None:
    with pytest.raises(InvalidInput):
        resolve("resnet", Settings())
    with pytest.raises(InvalidInput) as caught:
        get_backbone(small.spec.id, "float16", Settings(clip_checkpoint=small.setting))
    assert "'float16'" in str(caught.value)


def test_a_backbone_is_loaded_once_even_for_many_threads(small: SmallClip) -> None:
    settings = Settings(clip_checkpoint=small.setting)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: id(get_backbone(small.spec.id, "float32", settings)), range(16)))
    assert len(found) == 1


def test_only_the_two_backbones_used_last_stay_in_memory(small: SmallClip, tmp_path: Path) -> None:
    settings = Settings(clip_checkpoint=small.setting)
    first = get_backbone(small.spec.id, "float32", settings)
    second = get_backbone(small.spec.id, "bfloat16", settings)
    assert get_backbone(small.spec.id, "float32", settings) is first
    get_backbone(OFFLINE, "float32", settings)
    assert get_backbone(small.spec.id, "float32", settings) is first
    assert get_backbone(small.spec.id, "bfloat16", settings) is not second


def test_the_precision_setting_decides_when_it_is_given(small: SmallClip) -> None:
    for precision in ("float32", "bfloat16"):
        asked_for = precision if calculates_bfloat16() else "float32"
        assert choose_precision(small.spec.id, Settings(precision=precision)) == asked_for
    with pytest.raises(InvalidInput) as caught:
        choose_precision(small.spec.id, Settings(precision="int8"))
    assert "'int8'" in str(caught.value)

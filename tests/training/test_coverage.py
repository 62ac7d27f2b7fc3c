"""What samples cover: each fact inside and outside, by hand, and the sentences that follow."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from detector.imaging.file_look import FileLook, file_look
from detector.training.coverage import FEWEST, QUALITY, RESCALING, SIZE, Coverage, LabelFiles

NAMES = {"r": "real", "s": "synthetic"}


def jpegs(sides: Sequence[int], quality: int = 92, rescaling: float | None = None) -> list[FileLook]:
    return [FileLook(side, quality, rescaling) for side in sides]


def pngs(side: int, n: int = FEWEST) -> list[FileLook]:
    return [FileLook(side, lossless=True) for _ in range(n)]


def covering(real: Sequence[FileLook], synthetic: Sequence[FileLook], **options: object) -> Coverage:
    return Coverage({"r": LabelFiles.of(real), "s": LabelFiles.of(synthetic)}, **options)  # type: ignore[arg-type]


def sentences(known: Coverage, look: FileLook) -> list[str]:
    return [miss.sentence for miss in known.misses(look, NAMES)]


ALL_256 = covering(jpegs([256] * 30), jpegs([256] * 30))


@pytest.mark.parametrize("side", [205, 250, 256, 260, 320])
def test_a_little_larger_or_smaller_compares(side: int) -> None:
    assert ALL_256.misses(FileLook(side, 92), NAMES) == []


@pytest.mark.parametrize("side", [32, 204, 321, 4000])
def test_much_larger_or_smaller_does_not_and_the_sentence_names_both_sizes(side: int) -> None:
    [miss] = ALL_256.misses(FileLook(side, 92), NAMES)
    assert miss.fact == SIZE
    assert miss.sentence == f"Your samples are all 256 px (shorter side); this is {side:,} px."


def test_a_size_that_only_one_label_has_is_not_covered_and_the_other_is_named() -> None:
    known = covering(jpegs(list(range(300, 1000, 10))), jpegs([256] * 30))
    assert sentences(known, FileLook(800, 92)) == [
        "Your samples labelled synthetic are all 256 px (shorter side); this is 800 px."
    ]
    assert sentences(known, FileLook(300, 92)) == []
    assert sentences(known, FileLook(5000, 92)) == [
        "Your samples labelled real are 310 to 980 px, those labelled synthetic are all 256 px (shorter side); "
        "this is 5,000 px."
    ]


def test_one_odd_sample_in_two_hundred_covers_nothing() -> None:
    """The 99th percentile, not the largest: one stray photograph must not vouch for its size."""
    odd = jpegs([*[256] * 200, 4000])
    assert [miss.fact for miss in covering(odd, odd).misses(FileLook(4000, 92), NAMES)] == [SIZE]
    some = jpegs([*[256] * 190, *[4000] * 10])
    assert covering(some, some).misses(FileLook(4000, 92), NAMES) == []


def test_labels_without_a_common_size_cover_none() -> None:
    known = covering(jpegs([1000] * 30), jpegs([224] * 30))
    for side in (224, 500, 1000):
        assert [miss.fact for miss in known.misses(FileLook(side, 92), NAMES)] == [SIZE]
    assert known.covered(SIZE) is None
    assert known.what_to_add(NAMES)[:1] == [
        "No size is common to both labels: real samples are all 1,000 px, synthetic samples are all 224 px. Add "
        "photographs of the same sizes with both labels."
    ]


@pytest.mark.parametrize(
    ("quality", "covered"), [(81, False), (82, True), (92, True), (95, True), (98, True), (99, False)]
)
def test_quality_somewhat_worse_or_better_compares(quality: int, covered: bool) -> None:
    found = ALL_256.misses(FileLook(256, quality), NAMES)
    assert [miss.fact for miss in found] == ([] if covered else [QUALITY])


def test_a_quality_that_was_never_tried_is_named() -> None:
    assert sentences(ALL_256, FileLook(256, 40)) == ["Your samples are all of quality 92; this is of quality 40."]


def test_degraded_copies_count_beside_the_samples() -> None:
    copies = [FileLook(round(256 * scale), quality) for scale in (0.5, 0.7, 0.9) for quality in range(60, 91)]
    files = LabelFiles.of(jpegs([256] * 30), copies)
    known = Coverage({"r": files, "s": files})
    assert files.n == 30
    for look in (FileLook(128, 60), FileLook(256, 95), FileLook(200, 75)):
        assert known.misses(look, NAMES) == []
    assert [miss.fact for miss in known.misses(FileLook(128, 40), NAMES)] == [QUALITY]


def test_kinds_of_files_need_five_percent_of_every_label() -> None:
    png = FileLook(256, lossless=True)
    assert sentences(ALL_256, png) == [
        "Your samples were all saved with loss, such as JPEG; this picture was not, such as PNG."
    ]
    assert ALL_256.what_to_add(NAMES)[-1] == "Add PNG files with both labels."
    only_synthetic = covering(jpegs([256] * 30), pngs(256))
    assert sentences(only_synthetic, png) == [
        "Your samples labelled real were all saved with loss, such as JPEG; this picture was not, such as PNG."
    ]
    assert sentences(only_synthetic, FileLook(256, 92)) == [
        "Your samples labelled synthetic were all saved without loss, such as PNG; this is a JPEG."
    ]
    both = [*jpegs([256] * 95), *pngs(256, 5)]
    assert covering(both, both).misses(png, NAMES) == []
    assert covering(both, both).misses(FileLook(256, 92), NAMES) == []
    fewer = [*jpegs([256] * 96), *pngs(256, 4)]
    assert [miss.fact for miss in covering(fewer, fewer).misses(png, NAMES)] == [QUALITY]


def test_a_format_that_does_not_say_its_quality_decides_nothing() -> None:
    assert ALL_256.misses(FileLook(256), NAMES) == []
    of_webp = [FileLook(256) for _ in range(30)]
    assert covering(of_webp, of_webp).misses(FileLook(256, 92), NAMES) == []


def test_an_enlarged_picture_is_told_where_it_was_looked_at() -> None:
    sharp = jpegs([256] * 30, rescaling=1.0)
    known = covering(sharp, sharp)
    assert known.misses(FileLook(256, 92, 1.2), NAMES) == []
    assert known.misses(FileLook(256, 92), NAMES) == []
    [miss] = known.misses(FileLook(256, 92, 2.0), NAMES)
    assert miss.fact == RESCALING
    assert miss.sentence == "Your samples look not enlarged; this looks enlarged 2.0 times."
    some = jpegs([256] * 30, rescaling=1.0) + jpegs([256] * 10, rescaling=1.5)
    assert sentences(covering(some, sharp), FileLook(256, 92, 2.0)) == [
        "Your samples labelled real look enlarged 1.5 times at most, those labelled synthetic look not enlarged; this "
        "looks enlarged 2.0 times."
    ]
    soft = jpegs([256] * 30, rescaling=2.0)
    assert sentences(covering(soft, soft), FileLook(256, 92, 1.0)) == [
        "Your samples look enlarged 2.0 times; this looks not enlarged."
    ]
    # Only the pictures that were looked at can be told from.
    assert ALL_256.misses(FileLook(256, 92, 2.0), NAMES) == []


def test_several_facts_are_named_the_size_first() -> None:
    known = covering(jpegs([256] * 30, rescaling=1.0), jpegs([256] * 30, rescaling=1.0))
    assert [miss.fact for miss in known.misses(FileLook(4000, 40, 2.0), NAMES)] == [SIZE, QUALITY, RESCALING]


def test_few_samples_of_any_label_hold_nothing_back() -> None:
    known = covering(jpegs([256] * (FEWEST - 1)), jpegs([256] * 100))
    assert not known.decides
    assert known.misses(FileLook(4000, 10), NAMES) == []
    assert known.what_to_add(NAMES) == []
    enough = covering(jpegs([256] * FEWEST), jpegs([256] * 100))
    assert len(enough.misses(FileLook(4000, 10), NAMES)) == 2


def test_a_deleted_label_is_not_asked_any_more() -> None:
    files = {"r": jpegs([1000] * 30), "s": jpegs([1000] * 30), "d": jpegs([64] * 30)}
    known = Coverage({name: LabelFiles.of(looks) for name, looks in files.items()})
    three = {**NAMES, "d": "drawing"}
    assert [miss.sentence for miss in known.misses(FileLook(1000, 92), three)] == [
        "Your samples labelled drawing are all 64 px (shorter side); this is 1,000 px."
    ]
    assert known.misses(FileLook(1000, 92), NAMES) == []


def test_a_function_that_normalises_asks_only_whether_a_picture_fills_its_square() -> None:
    known = covering(jpegs([256] * 30), pngs(1000, 30), facts=(SIZE,), largest_side=224)
    assert known.misses(FileLook(4000, 10), NAMES) == []
    assert known.misses(FileLook(180, lossless=True), NAMES) == []
    assert [miss.fact for miss in known.misses(FileLook(64, 92), NAMES)] == [SIZE]
    assert known.what_to_add(NAMES) == []


def test_what_to_add_names_the_end_of_what_is_covered() -> None:
    assert ALL_256.what_to_add(NAMES)[0] == "Add photographs larger than 256 px with both labels."
    wide = jpegs(list(range(500, 1500)))
    assert covering(wide, wide).what_to_add(NAMES)[0].startswith("Add photographs larger than 1,48")
    assert "smaller than 5" in covering(wide, wide).what_to_add(NAMES)[0]


def test_it_is_stored_as_plain_json_and_comes_back_the_same() -> None:
    known = covering(jpegs([256] * 30, rescaling=1.1), pngs(300, 30), largest_side=224)
    assert Coverage.from_json(json.loads(json.dumps(known.to_json()))) == known


def test_the_look_of_a_file_is_read_from_its_facts() -> None:
    facts = {"format": "JPEG", "width": 640, "height": 480, "extra": {"jpeg_quality": 88}}
    assert file_look(facts, 1.5) == FileLook(480, 88, 1.5)
    assert file_look({"format": "PNG", "width": 20, "height": 30, "extra": {}}) == FileLook(20, lossless=True)
    assert file_look({"format": "WEBP", "width": 20, "height": 30, "extra": {}}) == FileLook(20)

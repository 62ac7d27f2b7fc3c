"""What the server makes of the gallery's reports, in whatever order and however often they come."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pages._confidence_range import first_bin, read_choice
from pages._gallery_memory import GalleryMemory, Gesture, opened_of


def report(memory: GalleryMemory, *numbers: int, load: str = "a", **more: Any) -> Any:
    """A report with gestures of these numbers, each one labelling a sample named after its number."""
    log = [{"n": n, "kind": "label", "ids": [f"s{n}"], "label": "real"} for n in numbers]
    about = {"session": memory.session, "load": load, "number": 1, "revision": memory.revision, "selected": []}
    return memory.own({**about, "opened": None, "log": log, **more})


def labelled(gestures: list[Gesture]) -> list[str]:
    return [gesture.ids[0] for gesture in gestures]


def shown(memory: GalleryMemory, told: Any, given_ids: list[str], tiles: list[str]) -> list[str]:
    """One whole run of a page that passes a selection and shows tiles."""
    returned, revision = memory.choose(told, given_ids, tiles)
    memory.note(told, returned, revision)
    return returned


def test_a_gesture_is_handed_out_once_however_often_it_is_reported() -> None:
    memory = GalleryMemory()
    assert labelled(memory.take(report(memory, 1, 2))) == ["s1", "s2"]
    assert memory.take(report(memory, 1, 2)) == []
    assert labelled(memory.take(report(memory, 1, 2, 3))) == ["s3"]
    assert memory.acknowledged(report(memory, 1)) == {"load": "a", "number": 3}
    assert memory.acknowledged(None) is None


def test_another_page_load_counts_from_one_again() -> None:
    memory = GalleryMemory()
    memory.take(report(memory, 1, 2))
    assert labelled(memory.take(report(memory, 1, load="b"))) == ["s1"]
    assert memory.take(report(memory, 1, 2, load="a")) == []


def test_a_report_meant_for_another_session_is_not_acted_on() -> None:
    before, after = GalleryMemory(), GalleryMemory()
    assert after.own({"session": before.session, "load": "a", "log": []}) is None
    assert after.own(None) is None
    assert after.own("words") is None
    assert after.own({"session": after.session}) is None


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30))
def test_of_any_windows_of_the_log_none_is_lost_or_doubled(windows: list[tuple[int, int]]) -> None:
    """The browser drops what is acknowledged and adds what is new; of the reports between only some arrive."""
    memory = GalleryMemory()
    handed: list[str] = []
    made = 0
    for more, arrives in windows:
        made += more
        if arrives % 3:
            acknowledged = memory.taken.get("a", 0)
            handed += labelled(memory.take(report(memory, *range(acknowledged + 1, made + 1))))
    handed += labelled(memory.take(report(memory, *range(memory.taken.get("a", 0) + 1, made + 1))))
    assert handed == [f"s{n}" for n in range(1, made + 1)]


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["n", "kind", "ids", "label", "step"]), inner, max_size=5)
        ),
    )
)
def test_a_log_that_makes_no_sense_stops_nothing(log: Any) -> None:
    memory = GalleryMemory()
    for gesture in memory.take(report(memory, log=log)):
        assert gesture.kind in ("label", "undo", "page", "stack")
        assert all(isinstance(id, str) for id in gesture.ids)
        assert gesture.step in (-1, 0, 1)


def test_passing_back_what_was_returned_leaves_the_selection_to_the_person() -> None:
    memory = GalleryMemory()
    tiles = ["s1", "s2", "s3"]
    assert shown(memory, None, [], tiles) == []
    assert shown(memory, report(memory, selected=["s2"]), [], tiles) == ["s2"]
    assert shown(memory, report(memory, selected=["s2", "s3"], number=2), ["s2"], tiles) == ["s2", "s3"]
    assert memory.revision == 0
    assert shown(memory, report(memory, selected=["s2", "s3"], number=2), [], tiles) == []
    assert memory.revision == 1


def test_what_take_offered_may_be_passed_back_as_well() -> None:
    memory = GalleryMemory()
    tiles = ["s1", "s2"]
    shown(memory, None, [], tiles)
    told = report(memory, selected=["s2"])
    assert shown(memory, told, memory.offer(told), tiles) == ["s2"]
    assert memory.revision == 0


def test_a_run_that_is_stopped_before_the_data_left_changes_nothing() -> None:
    memory = GalleryMemory()
    tiles = ["s1", "s2"]
    shown(memory, None, [], tiles)
    memory.choose(report(memory, selected=["s1"]), [], tiles)
    assert shown(memory, report(memory, selected=["s1", "s2"], number=2), [], tiles) == ["s1", "s2"]
    assert memory.revision == 0


def test_a_command_voids_what_the_browser_says_of_before_it() -> None:
    memory = GalleryMemory()
    tiles = ["s1", "s2"]
    shown(memory, None, [], tiles)
    old = report(memory, selected=["s1"])
    shown(memory, old, [], tiles)
    memory.commanded = ["s2"]
    assert shown(memory, old, ["s1"], tiles) == ["s2"]
    assert shown(memory, old, ["s2"], tiles) == ["s2"]
    assert memory.revision == 1


def test_a_tile_that_left_the_page_does_not_come_back_selected() -> None:
    memory = GalleryMemory()
    told = report(memory, selected=["s1", "s2"])
    assert shown(memory, told, [], ["s1", "s2"]) == ["s1", "s2"]
    assert shown(memory, told, ["s1", "s2"], ["s2", "s3"]) == ["s2"]
    assert shown(memory, told, ["s2"], ["s1", "s2"]) == ["s2"]
    again = report(memory, selected=["s1", "s2"], number=2)
    assert shown(memory, again, ["s2"], ["s1", "s2"]) == ["s1", "s2"]


def test_what_is_open_is_read_from_the_report() -> None:
    memory = GalleryMemory()
    assert opened_of(report(memory, opened="s4")) == "s4"
    assert opened_of(report(memory, opened=4)) is None
    assert opened_of(None) is None


def test_a_choice_of_confidences_is_read_once_and_only_where_it_is_one() -> None:
    choice = {"load": "a", "number": 2, "low": 3, "high": 8}
    assert read_choice(choice, {}, 10) == (3, 8)
    assert read_choice(choice, {"a": 1}, 10) == (3, 8)
    assert read_choice(choice, {"a": 2}, 10) is None
    assert read_choice(choice, {}, 7) is None
    assert read_choice({**choice, "low": 8}, {}, 10) is None
    assert read_choice({**choice, "low": "3"}, {}, 10) is None
    assert read_choice(None, {}, 10) is None


def test_empty_bins_at_the_lower_end_are_not_shown() -> None:
    assert first_bin([0, 0, 0, 1, 5, 2]) == 3
    assert first_bin([1, 0, 0, 0]) == 0
    assert first_bin([0, 0, 0, 9]) == 2
    assert first_bin([0, 0, 0, 0]) == 2

"""Names from anywhere, made fit for every file system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.importing.clutter import is_clutter
from detector.importing.entries import shown_path
from detector.importing.file_names import NameTaker, image_name, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo 1.jpg", "photo 1.jpg"),
        ("Zoë é 図.png", "Zoë é 図.png"),
        ('a/b\\c:d*e?f"g<h>i|j', "a_b_c_d_e_f_g_h_i_j"),
        ("con", "_con"),
        ("Aux.tar.png", "_Aux.tar.png"),
        ("COM1.png", "_COM1.png"),
        ("LPT².txt", "_LPT².txt"),
        ("console.png", "console.png"),
        ("trailing. . ", "trailing"),
        (".hidden", "_.hidden"),
        ("Thumbs.db", "_Thumbs.db"),
        ("__MACOSX", "___MACOSX"),
        ("..", "_"),
        ("", "_"),
        ("a\nb\u202egnp.exe\x00", "a_b_gnp.exe_"),
        ("\ud800", "_"),
    ],
)
def test_what_some_system_forbids_is_replaced(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("path", "image_format", "name"),
    [
        ("real/cam/IMG_1.JPG", "JPEG", "IMG_1.JPG"),
        ("C:\\pictures\\a.jpeg", "JPEG", "a.jpeg"),
        ("../../etc/passwd", "PNG", "passwd.png"),
        ("really-a-jpeg.png", "JPEG", "really-a-jpeg.jpg"),
        ("version 1.2", "WEBP", "version 1.2.webp"),
        ("x.tiff", "TIFF", "x.tiff"),
        ("", "PNG", "_.png"),
        ("folder/", "PNG", "_.png"),
        (".png", "JPEG", "_.jpg"),
        ("nul", "PNG", "_nul.png"),
    ],
)
def test_an_image_is_called_by_the_last_part_with_the_ending_of_what_it_is(
    path: str, image_format: str, name: str
) -> None:
    assert image_name(path, image_format) == name


def test_names_that_some_system_takes_for_the_same_are_numbered() -> None:
    take = NameTaker(["Samples.csv"]).take
    assert [take(name) for name in ("a.jpg", "A.JPG", "a (2).jpg", "a.jpg", "samples.csv", "e\u0301.png", "é.png")] == [
        "a.jpg",
        "A (2).JPG",
        "a (2) (2).jpg",
        "a (3).jpg",
        "samples (2).csv",
        "e\u0301.png",
        "é (2).png",
    ]
    assert NameTaker(["1.0"]).take("1.0", has_ending=False) == "1.0 (2)"


def test_ten_thousand_images_of_one_name_are_numbered_at_once() -> None:
    taker = NameTaker()
    assert [taker.take("image.png") for _ in range(10_000)][-1] == "image (10000).png"


@pytest.mark.slow
@given(st.lists(st.text(max_size=300), max_size=30))
def test_whatever_they_were_called_all_names_are_short_distinct_and_kept_by_an_import(paths: list[str]) -> None:
    taker = NameTaker()
    names = [taker.take(image_name(path, "PNG")) for path in paths]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert len(name.encode()) <= 180
        assert name.lower().endswith(".png")
        assert shown_path(f"real/{name}") == f"real/{name}"
        assert not is_clutter(f"real/{name}")

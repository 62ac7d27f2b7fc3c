"""What the upload widgets of the pages take and say, in a page as Streamlit runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
from streamlit.proto.FileUploader_pb2 import FileUploader
from streamlit.testing.v1 import AppTest

from detector.imaging.formats import ENDINGS_BY_FORMAT, FORMATS, IMAGE_ENDINGS
from detector.importing.file_names import image_name
from pages._state import IMAGE_TYPES


def _uploader() -> None:
    import streamlit as st

    from pages._state import IMAGE_TYPES, largest_upload_mb

    st.file_uploader("Images", type=IMAGE_TYPES, accept_multiple_files=True, max_upload_size=largest_upload_mb())


@pytest.fixture
def widget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileUploader:
    monkeypatch.setenv("DETECTOR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DETECTOR_MAX_IMAGE_MB", "37")
    st.cache_resource.clear()
    try:
        app = AppTest.from_function(_uploader, default_timeout=60).run()
        assert not app.exception
        proto = app.get("file_uploader")[0].proto
        assert isinstance(proto, FileUploader)
        return proto
    finally:
        st.cache_resource.clear()


def test_the_widget_takes_every_ending_that_an_export_writes(widget: FileUploader) -> None:
    """Kind: one list of endings. The widget refused .jfif as "image/jpeg files are not allowed"."""
    assert set(IMAGE_ENDINGS) <= set(widget.type)
    for file_format in FORMATS:
        for ending in ENDINGS_BY_FORMAT[file_format]:
            assert image_name(f"a{ending.upper()}", file_format) == f"a{ending.upper()}"
            assert ending in widget.type
    assert list(IMAGE_ENDINGS) == IMAGE_TYPES


def test_the_widget_tells_the_limit_in_force(widget: FileUploader) -> None:
    """Kind: a limit that is shown is the one that counts; the server's own, 200 MB, is not."""
    assert widget.max_upload_size_mb == 37


@pytest.mark.parametrize("page", ["invoke.py", "_adapt.py", "import_images.py"])
def test_every_page_gives_its_widget_this_list_and_this_limit(page: str) -> None:
    """Kind: one list, one limit, on every page that takes images."""
    text = (Path(__file__).parent.parent / "pages" / page).read_text(encoding="utf-8")
    for call in text.split("st.file_uploader(")[1:]:
        assert "type=IMAGE_TYPES" in call[:300]
        assert "max_upload_size=largest_upload_mb()" in call[:300]

"""The cards of Invoke on what is left of a verdict on copies, and on where it comes from."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def _cards() -> None:
    import io

    import numpy as np
    from PIL import Image

    from detector.charts.palette import label_inks
    from detector.evidence.regions import CELLS, Regions
    from detector.evidence.stability import CHANGES, Copy, Stability
    from pages._regions import regions_view
    from pages._stability import stability_strip

    file = io.BytesIO()
    Image.new("RGB", (160, 90), "navy").save(file, "WEBP")
    said = ["<b>real</b>"] * 5 + ["can't tell"]
    copies = tuple(
        Copy(
            name,
            change.words,
            {"a": 0.9},
            "<b>real</b>",
            "a",
            "moderate" if word != "can't tell" else word,
            file.getvalue(),
        )
        for (name, change), word in zip(CHANGES.items(), said, strict=True)
    )
    inks = label_inks(["<b>real</b>", "synthetic"])
    stability_strip(Stability(copies, 1.0), inks)
    grid, stable = np.ones((CELLS, CELLS)), np.ones((CELLS, CELLS), dtype=bool)
    whole = (0.0, 0.0, 1.0, 1.0)
    regions_view(
        Regions("synthetic", "b", "<b>real</b>", grid, stable, 0.9, True, whole, 1.4, 111),
        Image.new("RGB", (70, 70)),
        inks,
    )


def test_a_strip_has_each_copy_with_its_words_and_verdict_and_labels_are_text() -> None:
    page = AppTest.from_function(_cards, default_timeout=240).run()
    assert not page.exception
    [strip] = [item.proto.body for item in page.get("html")]
    assert strip.count("<li>") == 6
    assert strip.count("data:image/webp;base64,") == 6
    assert "<b>" not in strip
    assert strip.count("&lt;b&gt;real&lt;/b&gt;</div>") == 5
    assert strip.index("JPEG 75") < strip.index("half size") < strip.index("messenger") < strip.index("can&#x27;t tell")
    captions = " ".join(item.value for item in page.caption).replace("\\", "")
    assert "On 1 of 5 copies the function says something else: messenger." in captions
    assert "49 of 49 parts pull the score" in captions
    assert "Found in 1.4 s." in captions

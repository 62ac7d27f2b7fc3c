from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import open_clip
import pytest

from detector.backbones import registry
from detector.backbones.registry import DEFAULT_CLIP, OFFLINE, SPECS, BackboneSpec, get_spec, register
from detector.errors import InvalidInput
from detector.formatting import file_size

CLIPS = [spec for spec in SPECS.values() if spec.family == "clip" and spec.hub_repo]


@pytest.mark.parametrize("spec", CLIPS, ids=lambda spec: spec.id)
def test_the_facts_of_a_clip_backbone_agree_with_open_clips_own_tables(spec: BackboneSpec) -> None:
    known = open_clip.get_pretrained_cfg(spec.architecture, spec.pretrained)
    config = open_clip.get_model_config(spec.architecture)
    assert known, f"open_clip knows no {spec.architecture} / {spec.pretrained}"
    assert known["hf_hub"].rstrip("/") == spec.hub_repo
    assert (known["mean"], known["std"], known["interpolation"]) == (spec.mean, spec.std, spec.interpolation)
    assert config["vision_cfg"]["image_size"] == spec.image_size
    # The trap of the plain ViT-B-32: weights trained with another activation than the configuration's.
    assert known.get("quick_gelu", False) == config.get("quick_gelu", False)


def test_what_a_licence_restricts_is_marked_and_in_the_title() -> None:
    restricted = {spec.id: spec.only_for for spec in SPECS.values() if spec.only_for}
    assert restricted == {"mobileclip2-s2": "research use", "metaclip2-h-14": "non-commercial use"}
    assert all(f"({only_for} only)" in SPECS[backbone_id].title for backbone_id, only_for in restricted.items())
    # Such as CC-BY-NC: what is open is not marked, and what is not open is.
    assert {spec.licence for spec in SPECS.values() if not spec.only_for} == {"MIT", "Apache-2.0", "none"} & {
        spec.licence for spec in SPECS.values()
    }


def test_the_page_on_backbones_has_a_true_row_for_each_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "px |" in line]
    # Other tests add specs of their own to the table.
    published = registry._BUILT_IN
    assert [row[0] for row in rows] == [f"`{spec.id}`" for spec in published]
    for row, spec in zip(rows, published, strict=True):
        assert spec.title.startswith(row[1])
        assert row[2:] == [
            spec.licence,
            f"{spec.only_for} only" if spec.only_for else "every use",
            file_size(spec.download_bytes) if spec.download_bytes else "none",
            f"{spec.image_size} px",
            "yes" if spec.transformer else "none",
        ]


def test_the_defaults_are_registered() -> None:
    assert get_spec(DEFAULT_CLIP).family == "clip"
    assert get_spec(OFFLINE).family == "offline"


def test_an_unknown_id_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput) as caught:
        get_spec("resnet")
    assert "'resnet'" in str(caught.value)
    assert OFFLINE in str(caught.value)


def test_an_id_cannot_be_taken_twice() -> None:
    from dataclasses import replace

    with pytest.raises(InvalidInput) as caught:
        register(replace(get_spec(OFFLINE), image_size=64))
    assert "taken" in str(caught.value)
    assert get_spec(OFFLINE).image_size == 256


def test_listing_backbones_does_not_import_torch() -> None:
    code = (
        "import sys; import detector.backbones, detector.backbones.registry, detector.backbones.availability; "
        "from detector.settings import Settings; "
        "detector.backbones.availability(detector.backbones.get_spec('efficientnet-lite0'), Settings()); "
        "sys.exit(int('torch' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0

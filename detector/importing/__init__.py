"""From a folder, a ZIP or dropped files to (bytes, label, source), before anything is decoded or stored."""

from detector.importing.entries import Entry, FolderSource, Source, ZipLimits, ZipSource
from detector.importing.guessing import LevelPreview, folder_levels
from detector.importing.labelling import (
    Assignment,
    Chosen,
    LabelPlan,
    LabelQuota,
    assign,
    choose,
)

__all__ = [
    "Assignment",
    "Chosen",
    "Entry",
    "FolderSource",
    "LabelPlan",
    "LabelQuota",
    "LevelPreview",
    "Source",
    "ZipLimits",
    "ZipSource",
    "assign",
    "choose",
    "folder_levels",
]

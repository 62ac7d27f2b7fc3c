"""From a folder, a ZIP or dropped files to (bytes, label, source), before anything is decoded or stored."""

from detector.importing.entries import Entry, FolderSource, Source, UploadSource, ZipLimits, ZipSource
from detector.importing.guessing import LevelPreview, folder_levels, suggest_plan
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
    "UploadSource",
    "ZipLimits",
    "ZipSource",
    "assign",
    "choose",
    "folder_levels",
    "suggest_plan",
]

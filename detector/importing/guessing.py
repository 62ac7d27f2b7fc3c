"""How a person most likely meant the folders of a set of images: the plan that page and ``train`` begin with."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from detector.formatting import count
from detector.imaging.formats import IMAGE_ENDINGS
from detector.importing.labelling import NO_LABEL, LabelPlan, Splits, assign, counted_folders, planned_counts
from detector.importing.splits import FILLER_WORDS, pure_split, split_word, words_of
from detector.storage.label_names import label_key
from detector.storage.stored_names import TEST, TRAIN

if TYPE_CHECKING:
    from detector.importing.table_columns import Row

_REAL_WORDS = {
    "real", "reals", "nature", "natural", "authentic", "genuine", "photo", "photos", "photograph", "photographs",
    "human", "humans", "camera", "cameras", "original", "originals",
}  # fmt: skip
_SYNTHETIC_WORDS = {
    "fake", "fakes", "ai", "generated", "synthetic", "synth", "artificial", "aigc", "aigen", "gan", "genai",
    "aigenerated", "deepfake", "deepfakes", "synthesized", "synthesised",
}  # fmt: skip
# Generators and collections: such folders are where images come from, and rarely what is to be told apart.
_SOURCE_WORDS = {
    "sd", "sdxl", "sdv", "stablediffusion", "diffusion", "midjourney", "mj", "dalle", "firefly", "flux", "imagen",
    "glide", "biggan", "stylegan", "progan", "cyclegan", "stargan", "gaugan", "adm", "vqdm", "wukong", "ldm",
    "kandinsky", "ideogram", "playground", "pixart", "deepfloyd", "craiyon", "leonardo", "gpt", "gemini", "sora",
    "vqgan", "ddpm", "ddim", "coco", "imagenet", "laion", "ffhq", "celeba", "lsun", "raise", "cifar", "flickr",
    "unsplash", "openimages", "bsds", "dresden", "vision", "afhq", "pexels",
}  # fmt: skip
_NEGATIONS = {"non", "not", "no"}
# More names than this on one level are scenes, persons or numbers, and not labels.
_MOST_UNKNOWN_LABELS = 20
# And than this are persons or days, and not generators or collections.
_MOST_SOURCES = 100
# Names such as part-000001, batch_2 or 2023-05 number the folders of one set.
_NUMBERING_WORDS = {
    "part", "parts", "batch", "shard", "chunk", "vol", "volume", "group", "fold", "page", "dir", "section", "block",
    "archive", "p", "no", "nr", "number",
}  # fmt: skip
# Values that answer a question which only the column's name asks.
_ANSWERS = {"true", "false", "yes", "no", "t", "f", "y", "n", "none", "null", "nan", "na", "unknown"}
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
_MOST_QUESTIONS = 6
#: With fewer in training a label cannot be learned, so a set like this is not divided.
_LEAST_IN_TRAINING = 2
#: The labels of a function that nobody named.
USUAL_LABELS = ("real", "synthetic")


@dataclass(frozen=True)
class LevelPreview:
    """One folder level of an import: the names on it, sorted, with their file counts; ``missing`` files have none."""

    level: int
    names: list[tuple[str, int]]
    missing: int


@dataclass(frozen=True)
class Suggestion:
    """A plan, and what somebody has to decide who only reads it: one sentence a question, none where all is clear."""

    plan: LabelPlan
    questions: tuple[str, ...] = ()


def image_paths(paths: Iterable[str]) -> list[str]:
    """The paths that end like images, all where none does: a README or table beside them says nothing of folders."""
    everything = list(paths)
    return [path for path in everything if path.lower().endswith(IMAGE_ENDINGS)] or everything


def folder_levels(paths: Iterable[str], splits: Splits = "folders", mapped: Iterable[str] = ()) -> list[LevelPreview]:
    """What lies on each folder level, for the preview in which a person picks the label's level.

    Parameters
    ----------
    paths : iterable of str
        Relative paths with "/". Where any of them ends like an image, the others are not counted.
    splits, mapped
        As in ``LabelPlan``: unless "folders", folders such as train and test are no level.

    Returns
    -------
    list of LevelPreview
        One a level, topmost first; empty when no file lies in a folder.
    """
    folders = [counted_folders(path, splits, mapped) for path in image_paths(paths)]
    depth = max(map(len, folders), default=0)
    previews = []
    for level in range(depth):
        counts = Counter(parts[level] for parts in folders if len(parts) > level)
        previews.append(LevelPreview(level, sorted(counts.items()), len(folders) - counts.total()))
    return previews


def suggest(paths: Iterable[str], known_labels: Sequence[str], splits: Splits = "ignore") -> Suggestion:
    """Guess how a person meant the folders.

    Folders named like splits are neither labels nor sources, unless the function has a label of that name. The label's
    level is the topmost one on which most files lie in folders named like a known label or like "real", "fake", "ai",
    "generated" and so on; failing that, the topmost one that distinguishes at least two names. Names that mean real or
    synthetic are mapped to these where the function has them. Sources come from the next level below where every file
    has one; nobody has confirmed them. What is not for training is put aside, where each label keeps enough.

    Parameters
    ----------
    paths : iterable of str
        Relative paths with "/".
    known_labels : sequence of str
        The function's labels.
    splits
        "folders": folders such as train and test are folders like any other.

    Returns
    -------
    Suggestion
        Of mode "none" where the folders say nothing.
    """
    images = image_paths(paths)
    counted: Splits = "folders" if splits == "folders" else "ignore"
    kept = _label_folders(images, known_labels) if counted == "ignore" else []
    levels = folder_levels(images, counted, kept)
    level = _recognised_level(levels, known_labels)
    questions = []
    if level is None:
        level = _distinguishing_level(levels)
    elif (other := _contradicting_level(images, levels, level, counted, kept, known_labels)) is not None:
        questions.append(
            f"Folder levels {level + 1} and {other + 1} both name labels and do not agree: say which is meant."
        )
    if level is None:
        return Suggestion(with_splits(LabelPlan("none", splits=counted), images))
    if not questions and (uneven := _other_levels(images, level, counted, kept, known_labels)):
        questions.append(uneven)
    names = [name for name, _ in levels[level].names]
    below = level + 1
    has_sources = below < len(levels) and names_sources(levels[below], names, known_labels)
    plan = LabelPlan(
        "folders",
        level=level,
        mapping={**{name: name for name in kept}, **suggest_mapping(names, known_labels)},
        source_level=below if has_sources else None,
        source_guessed=has_sources,
        splits=counted,
    )
    return Suggestion(with_splits(plan, images), tuple(questions))


def suggest_mapping(names: Iterable[str], known_labels: Sequence[str]) -> dict[str, str | None]:
    """Folder names or table values -> labels, for those whose label is called otherwise.

    Spellings of one name, such as Künstlich and künstlich, become one label.
    """
    every = list(names)
    loose = loose_roles(every)
    mapping: dict[str, str | None] = {}
    first: dict[str, str] = {}
    for name in every:
        label = known_label(name, known_labels) or known_label(loose.get(name, ""), known_labels)
        label = label or first.setdefault(label_key(name), name)
        if label != name:
            mapping[name] = label
    return mapping


def with_splits(plan: LabelPlan, paths: Sequence[str], rows: Mapping[str, Row] | None = None) -> LabelPlan:
    """The plan, locking its splits where there are any and each label keeps images to train on, else ignoring them.

    One to which such folders are folders like any other stays as it is.
    """
    if plan.splits == "folders":
        return plan
    locking = replace(plan, splits="lock")
    counts = planned_counts(paths, locking, rows)
    aside = {label for label, split in counts if split == TEST}
    labels: list[str | None] = [label for label, _ in counts if label is not None]
    enough = all(counts[label, TRAIN] >= _LEAST_IN_TRAINING for label in (labels or [None]))
    return locking if aside and enough else replace(plan, splits="ignore")


def split_names(paths: Iterable[str], mapped: Iterable[str] = ()) -> dict[str, int]:
    """The folders that are splits, with their files, in the order of their names."""
    counts: Counter[str] = Counter()
    for path in image_paths(paths):
        counts.update({name for name in path.split("/")[:-1] if name not in mapped and pure_split(name) is not None})
    return dict(sorted(counts.items()))


def open_questions(
    paths: Iterable[str],
    plan: LabelPlan,
    known_labels: Sequence[str],
    rows: Mapping[str, Row] | None = None,
    explicit: bool = False,
) -> list[str]:
    """What a plan would do that nobody may have meant; one sentence each, with the options of ``train`` that decide.

    Parameters
    ----------
    known_labels : sequence of str
        Of a function that has them; empty for a new one, whose labels the plan names.
    explicit : bool
        Somebody has said where the labels stand; that generators are labels there is not doubted then.
    """
    names: dict[str, str] = {}
    for path in image_paths(paths):
        given = assign(path, plan, rows.get(path) if rows else None)
        if given.included and given.label is not None:
            names.setdefault(label_key(given.label), given.label)
    decided = {label_key(label) for label in plan.mapping.values() if label is not None}
    known = {label_key(label) for label in known_labels}
    what = "value" if plan.mode == "table" else "folder"
    questions = []
    usual = {label_key(label) for label in USUAL_LABELS}
    some_usual = not known and bool(usual & names.keys())
    sources = [name for name in names.values() if looks_like_source(name)]
    if sources and not (known or decided or explicit or some_usual):
        every = list(names.values())
        shown = ", ".join(every[:_MOST_QUESTIONS]) + (", ..." if len(every) > _MOST_QUESTIONS else "")
        questions.append(
            f"The {what}s {shown} look like generators or collections ({', '.join(sources[:3])}), not like labels. Say "
            f"what each is, such as {_map_option(sources[0], 'synthetic')}, or take all for labels with --label-level "
            f"{(plan.level or 0) + 1}."
        )
        return questions
    hints = {_hint(name) for name in names.values()}
    some_hint = not known and not some_usual and "synthetic" in hints and len(hints) > 1
    for key, name in names.items():
        if key in known or key in decided:
            continue
        labels = list(known_labels or USUAL_LABELS)
        # What the name hints at first: the first one is what people take.
        labels.sort(key=lambda label, name=name: label_key(label) != _hint(name))  # type: ignore[misc]
        choices = " or ".join(_map_option(name, label) for label in labels[:3])
        rest = f"as a label of its own: {_map_option(name, name)}; to leave it out: {_map_option(name, '')}"
        if known_labels:
            named = ", ".join(known_labels)
            questions.append(f"The {what} {name!r} is none of the labels {named}. As one of them: {choices}; {rest}.")
        elif some_usual and key not in usual:
            questions.append(
                f"The {what} {name!r} means neither real nor synthetic. As one of them: {choices}; {rest}."
            )
        elif _NUMBER.fullmatch(name.strip()) or _only_a_number(name):
            questions.append(f"The {what} {name!r} is a number. Say what it means: {choices}.")
        elif is_numbering(name):
            questions.append(f"The {what} {name!r} only numbers something. Say what it means: {choices}; {rest}.")
        elif key in _ANSWERS:
            questions.append(f"The {what} {name!r} does not say to which question. Say what it means: {choices}.")
        elif some_hint:
            questions.append(
                f"Some {what}s say that their pictures are generated and others do not; {name!r} is not plain. As one "
                f"of real and synthetic: {choices}; {rest}."
            )
    if len(questions) > _MOST_QUESTIONS:
        more = len(questions) - _MOST_QUESTIONS
        questions[_MOST_QUESTIONS:] = [f"{count(more, 'name')} more to say the same of."]
    return questions


def _only_a_number(name: str) -> bool:
    """Whether a name is a number beside words that mean nothing: "class_0"."""
    words = set(words_of(name))
    return bool(words) and words <= FILLER_WORDS and any(letter.isdigit() for letter in name)


def _map_option(name: str, label: str) -> str:
    """The option as it can be pasted: a name may begin with the sign of options, or hold a quotation mark."""
    text = f"{name}={label}"
    quoted = shlex.quote(text) if "'" in text else f"'{text}'"
    return f"--map{'=' if text.startswith('-') else ' '}{quoted}"


def known_label(name: str, known_labels: Sequence[str]) -> str | None:
    """The function's label that a folder's name means: its own name first, then "real" or "synthetic"."""
    by_key: dict[str, str] = {}
    for label in known_labels:
        by_key.setdefault(label_key(label), label)
    if name in known_labels:
        return name
    return by_key.get(label_key(name)) or by_key.get(role(name) or "")


def loose_roles(names: Sequence[str]) -> dict[str, str]:
    """What names mean that say more than real or synthetic, as real_faces and fake_faces do.

    Only where every name has a word of exactly one of the two meanings, and both occur: by itself, "real estate" is
    not what a camera took.
    """
    found: dict[str, str] = {}
    for name in names:
        words = set(words_of(name))
        meanings = {meaning for meaning, its in (("real", _REAL_WORDS), ("synthetic", _SYNTHETIC_WORDS)) if words & its}
        if len(meanings) != 1 or words & _NEGATIONS:
            return {}
        found[name] = meanings.pop()
    return found if len(set(found.values())) == 2 else {}


def looks_like_source(name: str) -> bool:
    """Whether a name is one of a well-known generator or collection, and nothing of real or synthetic."""
    words = words_of(name)
    return any(word in _SOURCE_WORDS or "".join(words[at : at + 2]) in _SOURCE_WORDS for at, word in enumerate(words))


@lru_cache(maxsize=65_536)
def role(name: str) -> str | None:
    """ "real" or "synthetic" where a name means that and nothing else, beside splits: "train_fake", "0_real"."""
    words = {word for word in words_of(name) if split_word(word) is None} - FILLER_WORDS
    negated = bool(words & _NEGATIONS)
    words -= _NEGATIONS
    if words and words <= _SYNTHETIC_WORDS:
        return "real" if negated else "synthetic"
    if words and words <= _REAL_WORDS:
        return "synthetic" if negated else "real"
    return None


def is_numbering(name: str) -> bool:
    """Whether a name only numbers something: "00", "2023-05", "part-000001"."""
    return any(letter.isdigit() for letter in name) and set(words_of(name)) <= _NUMBERING_WORDS | FILLER_WORDS


def names_mean_labels(names: Iterable[str], known_labels: Sequence[str]) -> bool:
    """Whether any of the names means a known label, or real or synthetic."""
    return any(_meaning(name, known_labels) is not None for name in names)


def _hint(name: str) -> str | None:
    """What a name may mean that also says something else: "fake_sdxl", "AI_LD_baroque"."""
    words = set(words_of(name))
    if words & _NEGATIONS:
        return None
    return "synthetic" if words & _SYNTHETIC_WORDS else "real" if words & _REAL_WORDS else None


def _label_folders(paths: Sequence[str], known_labels: Sequence[str]) -> list[str]:
    """Folders called like a split that are labels all the same, because the function has such a label."""
    known = {label_key(label) for label in known_labels}
    folders = {name for path in paths for name in path.split("/")[:-1]}
    return sorted(name for name in folders if label_key(name) in known and pure_split(name) is not None)


def _recognised_level(levels: list[LevelPreview], known_labels: Sequence[str]) -> int | None:
    best: tuple[float, float] = (0.0, 0.5)
    found = None
    for preview in levels:
        share, meanings = _recognised(preview, known_labels)
        # Levels that tell labels apart go before those on which all files agree, as in real/photos/.
        if share > 0.5 and (len(meanings), share) > best:
            best, found = (len(meanings), share), preview.level
    return found


def _recognised(preview: LevelPreview, known_labels: Sequence[str]) -> tuple[float, set[str]]:
    """The share of files whose folder on a level means a label, and the labels meant."""
    total = preview.missing + sum(count for _, count in preview.names)
    loose = loose_roles([name for name, _ in preview.names])
    meant = [
        (label, count)
        for name, count in preview.names
        if (label := _meaning(name, known_labels) or loose.get(name)) is not None
    ]
    return sum(count for _, count in meant) / total, {label for label, _ in meant}


def _contradicting_level(
    paths: Sequence[str],
    levels: list[LevelPreview],
    level: int,
    counted: Splits,
    kept: Sequence[str],
    known_labels: Sequence[str],
) -> int | None:
    """Another level that tells labels apart as well, and differently for some file."""
    for preview in levels:
        share, meanings = _recognised(preview, known_labels)
        if preview.level == level or share <= 0.5 or len(meanings) < 2:
            continue
        for path in paths:
            folders = counted_folders(path, counted, kept)
            if len(folders) > max(level, preview.level):
                here = _meaning(folders[level], known_labels)
                there = _meaning(folders[preview.level], known_labels)
                if here is not None and there is not None and here != there:
                    return preview.level
    return None


def _other_levels(
    paths: Sequence[str], level: int, counted: Splits, kept: Sequence[str], known_labels: Sequence[str]
) -> str:
    """A question where files have their label on another level than the chosen one, as in biggan/0_real beside
    stylegan/car/0_real; empty where none has."""
    there: Counter[tuple[int, str]] = Counter()
    here: set[str] = set()
    for path in paths:
        folders = counted_folders(path, counted, kept)
        meanings = [_meaning(name, known_labels) for name in folders]
        if level < len(folders) and meanings[level] is not None:
            here.add(folders[level])
            continue
        there.update((at, folders[at]) for at, meaning in enumerate(meanings) if meaning is not None)
    # One folder called "photos" far below says little; two meanings tell labels apart.
    if len({_meaning(name, known_labels) for _, name in there}) < 2:
        return ""
    levels = sorted({at for at, _ in there} | ({level} if here else set()))
    examples = ", ".join(list(dict.fromkeys(name for _, name in there))[:4])
    on = f"on folder {'level' if len(levels) == 1 else 'levels'} {', '.join(str(at + 1) for at in levels)}"
    return (
        f"Folders such as {examples} mean labels and lie {on}, not for all files on one level. Say which level names "
        "the labels with --label-level, or train with the folders of each depth by themselves, one after the other."
    )


def names_sources(preview: LevelPreview, label_names: Sequence[str], known_labels: Sequence[str]) -> bool:
    """Whether names on a level may be generators or collections: every file has one, and they are no labels again."""
    again = {label_key(name) for name in label_names}
    names = [name for name, _ in preview.names]
    return (
        preview.missing == 0
        and len(names) <= _MOST_SOURCES
        and not all(map(is_numbering, names))
        and not all(label_key(name) in again or _meaning(name, known_labels) is not None for name in names)
    )


def _distinguishing_level(levels: list[LevelPreview]) -> int | None:
    for preview in levels:
        names = [name for name, _ in preview.names if name != NO_LABEL]
        if 2 <= len({label_key(name) for name in names}) <= _MOST_UNKNOWN_LABELS:
            return preview.level
    return None


def _meaning(name: str, known_labels: Sequence[str]) -> str | None:
    return known_label(name, known_labels) or role(name)

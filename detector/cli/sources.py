"""``sources``: which generators and collections the samples of a function came from, said or guessed."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from typing import Any

from detector.cli.output import answer, json_option, say
from detector.errors import InvalidInput
from detector.formatting import count
from detector.operations.sources import confirm_sources, set_source
from detector.storage import functions, samples
from detector.storage.label_names import label_key
from detector.workspace import Workspace


def add_source_commands(commands: Any) -> None:
    """Add ``sources`` to the parser's commands."""
    sources = commands.add_parser(
        "sources", help="list, confirm or set the sources (generators, collections) of samples"
    )
    sources.add_argument("function", help="name or id")
    sources.add_argument(
        "--confirm",
        nargs="*",
        metavar="NAME",
        help="say that guessed sources are collections or generators: those named, or all",
    )
    sources.add_argument("--set", metavar="SOURCE", help="give samples this source; nothing between quotes removes it")
    sources.add_argument("--of", metavar="SOURCE", help="with --set: samples that have this source now; '' for none")
    sources.add_argument("--label", metavar="LABEL", help="with --set: samples with this label")
    sources.add_argument("--files", metavar="PATTERN", help="with --set: samples whose file fits, such as 'sdxl/*'")
    json_option(sources)
    sources.set_defaults(run=_sources)


def _sources(ws: Workspace, options: argparse.Namespace) -> int:
    function = functions.find_function(ws.db, options.function)
    changed = None
    if options.set is not None:
        if (options.of, options.label, options.files) == (None, None, None):
            raise InvalidInput(
                "--set gives samples a source, and nothing says which. Choose them with --of, --label or --files; "
                "--files '*' means all."
            )
        changed = set_source(ws, function.id, _meant(ws, function.id, options), options.set.strip() or None)
    elif (options.of, options.label, options.files) != (None, None, None):
        raise InvalidInput("--of, --label and --files choose samples for --set SOURCE. Say which source they get.")
    if options.confirm is not None:
        known = {item.source for item in samples.count_sources(ws.db, function.id)}
        if missing := [name for name in options.confirm if name not in known]:
            raise InvalidInput(f"No sample has the source {missing[0]!r}. List them with: sources {options.function}")
        changed = (changed or 0) + confirm_sources(ws, function.id, options.confirm or None)
    found = samples.count_sources(ws.db, function.id)
    if options.json:
        rows = [{"source": item.source, "samples": item.samples, "guessed": item.guessed} for item in found]
        answer({"function": function.id, "changed": changed or 0, "sources": rows})
        return 0
    if changed is not None:
        say(f"{count(changed, 'sample')} changed.")
    for item in found:
        guessed = f"  ({item.guessed:,} guessed from folders)" if item.guessed else ""
        print(f"{item.source if item.source is not None else 'without a source'}  {item.samples:,}{guessed}")
    return 0


def _meant(ws: Workspace, function_id: str, options: argparse.Namespace) -> list[str]:
    """The samples that ``--of``, ``--label`` and ``--files`` choose; all that they agree on."""
    label_id = None
    if options.label is not None:
        labels = functions.list_labels(ws.db, function_id)
        chosen = [label for label in labels if label.name == options.label] or [
            label for label in labels if label_key(label.name) == label_key(options.label)
        ]
        if not chosen:
            raise InvalidInput(
                f"There is no label {options.label!r}; there are {', '.join(label.name for label in labels)}."
            )
        label_id = chosen[0].id
    rows = samples.find_samples(ws.db, function_id, samples.SampleFilter(annotated=label_id), limit=None)
    return [
        row.id
        for row in rows
        if (options.of is None or (row.source or "") == options.of)
        and (options.files is None or fnmatchcase(row.file_name, options.files))
    ]

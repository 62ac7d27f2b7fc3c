"""Which pictures compare with the samples: the card of Metrics, and the switch of Invoke."""

from __future__ import annotations

import streamlit as st

from detector.charts import coverage as coverage_charts
from detector.charts.palette import Theme
from detector.formatting import all_labels, count
from detector.operations.unlike_pictures import set_judge_unlike
from detector.serving.coverage import coverage_of
from detector.storage.acting import MANAGE, may
from detector.storage.models import ModelRow
from detector.training.coverage import FEWEST, QUALITY, RESCALING, SIZE, Coverage
from pages._figure import plot
from pages._state import escape, function_labels, import_link, workspace
from pages._style import card

_TITLE = "Which pictures compare with your samples"
_EXPLAIN = (
    "What a function learned from small pictures says little of large ones, and the other way round. So a picture "
    "gets a verdict only where each label has samples like it: of such a size, saved with such a quality, enlarged as "
    "much. The bars show where 98 of 100 samples of each label lie; the grey band is what all labels cover, with some "
    "room. Format, camera and software do not count here."
)
_FACTS = {SIZE: "Size (shorter side)", QUALITY: "JPEG quality", RESCALING: "Enlarged, as its finest detail shows"}


def _known(live: ModelRow) -> tuple[Coverage | None, dict[str, str]]:
    names = {label.id: label.name for label in function_labels(live.function_id) if label.id in live.label_ids}
    found = coverage_of(workspace(), live)
    return (found.of_labels(list(names)) if found is not None else None), names


def coverage_card(live: ModelRow, theme: Theme, labels: list[str]) -> None:
    """What the samples' files are like, as a picture for each fact, and what to add."""
    known, names = _known(live)
    if known is None or not known.decides:
        return
    with card("coverage"):
        st.markdown(f"**{_TITLE}**", help=_EXPLAIN)
        for fact in known.facts:
            if any(files.range_of(fact) is not None for files in known.labels.values()):
                st.caption(_FACTS[fact])
                plot(coverage_charts.coverage(known, fact, names, labels, theme), f"coverage-{fact}")
        add = known.what_to_add(names)
        if add:
            st.markdown(escape(" ".join(add)))
            import_link(live.function_id, "import-for-coverage")
        n = sum(files.n for files in known.labels.values())
        every = all_labels(len(known.labels))
        st.caption(
            f"{count(n, 'sample')}. A picture outside what {every} cover gets the verdict can't tell, with the reason; "
            "on the Invoke page you can have it judged all the same."
        )


def unlike_switch(live: ModelRow, judge_unlike: bool) -> None:
    """Whether pictures are judged that do not compare with the samples; nothing where there are too few to say."""
    known, names = _known(live)
    if known is None or not known.decides:
        return
    function_id = live.function_id
    now = "are judged all the same" if judge_unlike else "get can't tell"
    with st.expander(f"Pictures unlike your samples {now}", key=f"unlike-open-{function_id}"):
        wanted = st.toggle(
            "Judge such pictures all the same",
            judge_unlike,
            # Another one when it is switched elsewhere: else this page would switch it back.
            disabled=not may(MANAGE),
            key=f"unlike-{function_id}-{judge_unlike}",
            help="A picture of another size or quality than your samples, or enlarged, was never tried. Its verdict is "
            "then moderate at most, and how often it is wrong is not known.",
        )
        if wanted != judge_unlike:
            set_judge_unlike(workspace(), function_id, wanted)
            st.rerun()
        st.caption(f"A label needs {FEWEST} samples before this is decided. The Metrics page shows what they cover.")
        for sentence in known.what_to_add(names):
            st.caption(escape(sentence))

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from detector.evaluation.audit_data import AuditData
from detector.evaluation.results import Sources
from detector.evaluation.sources import measure_sources
from detector.training.options import SweepSettings
from detector.training.train import TrainingData, train
from tests.evaluation.made_audit_data import audit_data_of, clouds_with_sources
from tests.training.factories import training_data


def unseen_by_hand(audit_data: AuditData, source: str) -> np.ndarray:
    """What scikit-learn says of all samples when it is trained without a source and what is nearly the same."""
    groups_of_source = {
        group for group, tag in zip(audit_data.groups, audit_data.sources, strict=True) if tag == source
    }
    away = np.array([group in groups_of_source for group in audit_data.groups])
    scaler = StandardScaler().fit(audit_data.views["whole"][~away].astype(np.float64))
    x = scaler.transform(audit_data.views["whole"].astype(np.float64))
    norm = float((x[~away] ** 2).sum(axis=1).mean())
    c = audit_data.model.hyperparameters["c"] / norm
    model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(x[~away], audit_data.y[~away])
    return model.predict(x)


@pytest.mark.parametrize(("counts", "seed"), [((70, 50), 0), ((60, 60), 1), ((50, 40, 30), 2)])
def test_the_accuracy_on_an_unseen_source_is_that_of_a_run_made_by_hand(counts: tuple[int, ...], seed: int) -> None:
    audit_data = clouds_with_sources(counts, seed)
    data = training_data(counts, seed=seed)
    audit_data = audit_data_of(
        replace(
            data, sample_keys=[row.image_hash for row in audit_data.rows], views=audit_data.views, labels=audit_data.y
        ),
        audit_data.sources.tolist(),
    )
    found = measure_sources(audit_data)

    assert len(found.sources) == 2 * len(counts)
    for score in found.sources:
        here = audit_data.sources == score.source
        says = unseen_by_hand(audit_data, score.source)
        assert score.accuracy_unseen == (says[here] == audit_data.y[here]).mean()
        assert score.interval[0] <= score.accuracy_unseen <= score.interval[1]
        assert audit_data.out_of_fold is not None
        assert score.accuracy == (audit_data.out_of_fold.argmax(axis=1)[here] == audit_data.y[here]).mean()
        assert score.n == here.sum()


def test_it_is_what_our_own_training_on_the_other_samples_says() -> None:
    audit_data = clouds_with_sources((60, 60), 3)
    chosen = audit_data.model.hyperparameters
    for score in measure_sources(audit_data).sources:
        rest = np.flatnonzero(audit_data.sources != score.source)
        trained = train(
            TrainingData(
                sample_keys=[audit_data.rows[i].image_hash for i in rest],
                views={"whole": audit_data.views["whole"][rest]},
                features={"statistics": slice(0, 24)},
                labels=audit_data.y[rest],
                label_names=audit_data.label_names,
                groups=[audit_data.groups[i] for i in rest],
            ),
            SweepSettings(scaling=(chosen["scaling"],), c=(chosen["c"],), class_weight=(chosen["class_weight"],)),
        )
        here = audit_data.sources == score.source
        says = trained.model.predict_proba({"whole": audit_data.views["whole"][here]}).argmax(axis=1)
        assert score.accuracy_unseen == (says == audit_data.y[here]).mean()


def test_near_duplicates_of_a_left_out_source_leave_the_training_with_it() -> None:
    """Every image of one source also stands, hardly changed and under the other label, in another source."""
    data = training_data((40, 40), seed=4)
    x = np.asarray(data.views["whole"])
    copies = [i for i in range(80) if data.labels[i] == 0][:20]
    keys = [*data.sample_keys, *(f"{i:064d}" for i in copies)]
    audit_data = audit_data_of(
        replace(
            data,
            sample_keys=keys,
            views={"whole": np.concatenate([x, x[copies]])},
            labels=np.concatenate([data.labels, np.ones(20, dtype=np.int64)]),
            groups=[*data.groups, *(data.groups[i] for i in copies)],
        ),
        [*("copied" if i in copies else f"rest of {data.labels[i]}" for i in range(80)), *["copies"] * 20],
    )
    scores = {score.source: score for score in measure_sources(audit_data).sources}
    says = unseen_by_hand(audit_data, "copied")
    here = audit_data.sources == "copied"
    assert scores["copied"].accuracy_unseen == (says[here] == audit_data.y[here]).mean()
    assert (scores["copied"].accuracy_unseen or 0) > 0.5


def test_a_labels_only_source_cannot_be_left_out_and_is_judged_as_seen() -> None:
    data = training_data((30, 30), seed=5)
    audit_data = audit_data_of(data, ["camera" if label == 0 else f"g{i % 2}" for i, label in enumerate(data.labels)])
    camera, *generators = measure_sources(audit_data).sources
    assert camera.accuracy_unseen is None
    assert camera.interval == camera.interval_seen
    assert all(score.accuracy_unseen is not None for score in generators)


def test_samples_without_a_source_are_counted_and_results_survive_json() -> None:
    data = training_data((30, 30), seed=6)
    found = measure_sources(audit_data_of(data, [None if i % 3 else "a" for i in range(60)]))
    assert found.untagged == 40
    assert [(score.source, score.label) for score in found.sources] == [("a", "label 0"), ("a", "label 1")]
    assert Sources.from_json(found.to_json()) == found
    assert measure_sources(audit_data_of(data, [None] * 60)).sources == ()

"""The tables. What the gallery filters and sorts by is denormalised onto ``samples`` and indexed."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from detector.storage.stored_names import TRAIN

metadata = MetaData()

#: Facts about the database itself: the schema version, the key that signs image URLs.
meta = Table("meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))

functions = Table(
    "functions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("input", String(32), nullable=False),
    Column("output", String(32), nullable=False),
    Column("backbone_id", String(64), nullable=False),
    Column("backbone_reason", Text, nullable=False),
    # Chosen by measurement at the first embedding and then kept: mixing two kinds of numbers is a silent error.
    Column("precision", String(16)),
    Column("sweep_settings", JSON, nullable=False),
    # The share of a label's images that may be said to have another one: what thresholds are made for.
    Column("tolerated", Float, key="false_accusation_limit", nullable=False, server_default="0.02"),
    # How images are re-encoded before they are embedded, such as "jpeg-224-q90"; NULL: as they are.
    Column("normalise", String(32)),
    # Degraded copies of each labelled sample to train on beside it; NULL: as many as suit the number of samples.
    Column("copies", Integer),
    # Whether images get a verdict whose files do not compare with the samples'.
    Column("judge_unlike", Boolean, nullable=False, server_default=false()),
    # Whether the backbone's inner blocks are kept as feature sets too.
    Column("inner_features", Boolean, nullable=False, server_default=false()),
    # Whether a record of each verdict given on the Invoke page is kept, and for how many days; NULL: until deleted.
    Column("keep_records", Boolean, nullable=False, server_default=false()),
    Column("keep_days", Integer),
    # Which invoked pictures are put among the samples by themselves; NULL: none.
    Column("capture", JSON(none_as_null=True)),
    Column("live_model_id", String(32)),
    # Counts the changes of its samples; each changed row is stamped with the count, so that whoever remembers one
    # reads only what has changed since. Rows are removed for good at ``purge_revision`` last.
    Column("sample_revision", Integer, nullable=False, server_default="0"),
    Column("purge_revision", Integer, nullable=False, server_default="0"),
    # Why the last attempt to train gave no model; empty after a success.
    Column("training_note", Text, nullable=False, server_default=""),
    Column("is_simulation", Boolean, nullable=False, default=False),
    Column("created_at", Float, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("metadata", JSON),
    Column("position", Integer, nullable=False),
    UniqueConstraint("function_id", "name"),
)

#: One row per content, shared by all functions. The bytes lie in the blob store under the same hash.
images = Table(
    "images",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("byte_count", Integer, nullable=False),
    Column("format", String(16), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("perceptual_hash", String(32), nullable=False),
    Column("created_at", Float, nullable=False),
)

#: 256 px WebP. In the database, not in files: one commit makes a whole batch durable, without 100,000 small files.
thumbnails = Table(
    "thumbnails",
    metadata,
    Column("image_hash", ForeignKey("images.hash", ondelete="CASCADE"), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

#: Of pictures that were imported in place: their bytes are read where they lie, and compared with the hash. A picture
#: may be in the store as well; then that copy is read.
places = Table(
    "places",
    metadata,
    Column("image_hash", ForeignKey("images.hash", ondelete="CASCADE"), primary_key=True),
    Column("place", Text, nullable=False),
    Column("byte_count", Integer, nullable=False),
    Column("modified", Float, nullable=False),
)

import_batches = Table(
    "import_batches",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), nullable=False),
    Column("origin", String(16), nullable=False),  # upload, zip, folder, command line, api, sample, cifake, invoke
    Column("title", Text, nullable=False),
    Column("state", String(16), nullable=False),  # running, done, failed
    Column("total", Integer, nullable=False, default=0),
    Column("note", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Index("ix_import_batches_function", "function_id", "created_at"),
)

#: One row per file that did not become a new sample as asked: already there, rejected, or with another label, which
#: was kept or, where that was asked for, changed.
import_rows = Table(
    "import_rows",
    metadata,
    Column("batch_id", ForeignKey("import_batches.id", ondelete="CASCADE"), primary_key=True),
    Column("file", Text, primary_key=True),
    Column("outcome", String(16), nullable=False),  # present, conflict, relabelled, rejected
    Column("reason", Text, nullable=False, default=""),
)


def _order_on_a_server(name: str, *columns: str) -> Index:
    where = text("deleted_at IS NULL")
    return Index(name, "function_id", *map(text, columns), postgresql_where=where).ddl_if(dialect="postgresql")


#: The same orders for PostgreSQL, which does not see that all rows "where deleted_at is null" come in the order of the
#: next column, and in the other direction reads those without a value first.
ORDERS_ON_A_SERVER = [
    _order_on_a_server("ix_samples_newest", "sequence"),
    _order_on_a_server("ix_samples_annotated_last", "annotated_at DESC NULLS LAST", "sequence DESC"),
    _order_on_a_server("ix_samples_annotated_first", "annotated_at ASC NULLS LAST", "sequence DESC"),
    _order_on_a_server("ix_samples_most_confident", "confidence DESC NULLS LAST", "sequence DESC"),
    _order_on_a_server("ix_samples_least_confident", "confidence ASC NULLS LAST", "sequence DESC"),
    _order_on_a_server("ix_samples_of_label", "label_id", "sequence"),
]

samples = Table(
    "samples",
    metadata,
    # The order of import; also the tie-breaker of every sort.
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), nullable=False),
    Column("image_hash", ForeignKey("images.hash"), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("external_id", Text),
    # Ids of the caller's own sets, given over the API and handed back as they came.
    Column("sample_sets", JSON(none_as_null=True)),
    Column("source", Text),
    # Taken from a folder's name, and nobody has said that it is a collection or generator.
    Column("source_guessed", Boolean, nullable=False, server_default=false()),
    Column("import_batch_id", ForeignKey("import_batches.id", ondelete="SET NULL")),
    Column("created_at", Float, nullable=False),
    Column("deleted_at", Float),
    Column("split", String(8), nullable=False, default=TRAIN),  # train, test (locked)
    # Set by whoever knows that images belong together (patches of one photograph); never split over folds.
    Column("group_key", Text),
    Column("near_duplicate_group", String(64)),
    # How many model versions were scored on it while it lay in the locked test set.
    Column("test_looks", Integer, key="holdout_uses", nullable=False, server_default="0"),
    # The annotation.
    Column("label_id", ForeignKey("labels.id", ondelete="SET NULL")),
    Column("annotated_at", Float),
    Column("annotated_by", String(16)),  # import, person, api
    # The prediction, out-of-fold where annotated.
    Column("predicted_label_id", ForeignKey("labels.id", ondelete="SET NULL")),
    Column("confidence", Float),
    Column("margin", Float),
    Column("agrees", Boolean),
    Column("out_of_fold", Boolean),
    Column("predicted_by", String(32)),
    Column("probabilities", LargeBinary),  # float32, in the order of the model's labels
    # How well the annotation fits the out-of-fold probabilities, 0 to 1: the lowest are most likely mislabelled.
    Column("label_quality", Float),
    # How much its label would teach, for samples without one: the highest first.
    Column("usefulness", Float),
    # Why it was put here by an invoke: low grade, random, unlike, asked, disputed; NULL: it was imported.
    Column("captured", String(16)),
    Column("revision", Integer, nullable=False, server_default="0"),
    UniqueConstraint("function_id", "image_hash"),
    Index("ix_samples_created", "function_id", "deleted_at", "sequence").ddl_if(dialect="sqlite"),
    Index("ix_samples_annotated", "function_id", "deleted_at", "annotated_at", "sequence").ddl_if(dialect="sqlite"),
    Index("ix_samples_confidence", "function_id", "deleted_at", "confidence", "sequence").ddl_if(dialect="sqlite"),
    # None by prediction or agreement: each retraining would write it anew for all samples. Review filters in memory.
    Index("ix_samples_label", "function_id", "deleted_at", "label_id", "sequence").ddl_if(dialect="sqlite"),
    *ORDERS_ON_A_SERVER,
    # All that is counted for Metrics, so that no row is read for it: see `detector.storage.sample_counts`.
    Index(
        "ix_samples_counts",
        *("function_id", "deleted_at", "split", "source", "label_id", "holdout_uses", "source_guessed"),
    ),
    Index("ix_samples_revision", "function_id", "revision"),
    Index("ix_samples_batch", "import_batch_id"),
    Index("ix_samples_image", "image_hash"),
)

#: Every annotation ever given: for a sample's history and for undo.
annotation_history = Table(
    "annotation_history",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("sample_id", ForeignKey("samples.id", ondelete="CASCADE"), nullable=False),
    Column("label_id", String(32)),
    Column("previous_label_id", String(32)),
    Column("at", Float, nullable=False),
    Column("by", String(16), nullable=False),
    # The user or the key in whose name it was; NULL where nobody signs in.
    Column("who", Text),
    # What was done together is undone together. NULL in rows from before there was an undo.
    Column("operation", String(32)),
    # When and by whom the previous label was given: undoing restores these too.
    Column("previous_at", Float),
    Column("previous_by", String(16)),
    Column("undone_at", Float),
    # As ``who``, of whoever took it back.
    Column("undone_who", Text),
    Index("ix_annotation_history_sample", "sample_id"),
    Index("ix_annotation_history_operation", "operation"),
    Index("ix_annotation_history_by", "by", "sequence"),
    Index("ix_annotation_history_at", "at"),
    # Of the few that were undone only, or SQLite would look here for all that were not.
    Index(
        "ix_annotation_history_undone",
        "undone_at",
        sqlite_where=text("undone_at IS NOT NULL"),
        postgresql_where=text("undone_at IS NOT NULL"),
    ),
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("image_hash", ForeignKey("images.hash", ondelete="CASCADE"), primary_key=True),
    Column("backbone_key", String(160), primary_key=True),
    Column("view", String(16), primary_key=True),
    Column("dtype", String(8), nullable=False),
    Column("data", LargeBinary, nullable=False),
    # CRC-32 of the data, as a number with a sign; NULL in rows from before there was one.
    Column("checksum", Integer),
)

#: Images that decode at import but fail at embedding under one backbone: said once, not tried for ever.
embedding_failures = Table(
    "embedding_failures",
    metadata,
    Column("image_hash", ForeignKey("images.hash", ondelete="CASCADE"), primary_key=True),
    Column("backbone_key", String(160), primary_key=True),
    Column("reason", Text, nullable=False),
)

models = Table(
    "models",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("backbone_id", String(64), nullable=False),
    Column("backbone_key", String(160), nullable=False),
    Column("precision", String(16), nullable=False),
    Column("label_ids", JSON, nullable=False),
    Column("label_names", JSON, nullable=False),
    Column("sample_count", Integer, nullable=False),
    Column("training_fingerprint", String(64), nullable=False),
    Column("hyperparameters", JSON, nullable=False),
    Column("sweep", JSON, nullable=False),
    Column("cross_validation", JSON),
    # Made again when the limit on false accusations changes; NULL without folds.
    Column("thresholds", JSON),
    # The function's at the time of the training.
    Column("normalise", String(32)),
    # The score on the locked test set, made once; NULL where there was none.
    Column("locked_test", JSON, key="holdout_score"),
    # Degraded copies: how many were trained on, and the figures without and with them; NULL where there were none.
    Column("hardening", JSON),
    # What sizes, rescalings and qualities the samples' files cover; NULL: not measured.
    Column("coverage", JSON),
    # How it was adapted to pictures of the place where it is used; NULL: it was not.
    Column("recentring", JSON),
    Column("note", Text, nullable=False, default=""),
    Column("seconds", Float, nullable=False),
    # The training takes its time: labels changed later than this are not in it.
    Column("labels_read_at", Float, nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("function_id", "version"),
)

#: What the audit of one model found, part by part: a part that is here is done, so a killed audit goes on behind it.
evaluations = Table(
    "evaluations",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("part", String(32), primary_key=True),
    Column("result", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", Float, nullable=False),
)

#: Samples whose verdict changes when the picture has travelled, for the filters of Review.
sample_flips = Table(
    "sample_flips",
    metadata,
    Column("model_id", ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("stress", String(32), primary_key=True),
    Column("sample_id", ForeignKey("samples.id", ondelete="CASCADE"), primary_key=True),
    # What the function says of the copy; it may be deleted since.
    Column("label_id", String(32), nullable=False),
    Index("ix_sample_flips_sample", "sample_id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),  # import, build, evaluate, copies, invoke
    Column("payload", JSON, nullable=False),
    Column("state", String(16), nullable=False),  # queued, running, done, failed, cancelled
    Column("phase", String(16), nullable=False, default=""),  # import, embed, train, predict, evaluate
    Column("done", Integer, nullable=False, default=0),
    Column("total", Integer, nullable=False, default=0),
    Column("rate", Float),
    Column("message", Text, nullable=False, default=""),
    Column("owner", String(160)),
    # Of whoever took it: who lost it meanwhile may not write into the row any more.
    Column("lease", String(16)),
    Column("heartbeat", Float),
    # How often a background process died or hung with it.
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("run_after", Float, nullable=False, default=0.0),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Index("ix_jobs_state", "state", "run_after"),
    Index("ix_jobs_function", "function_id", "created_at"),
)

#: Pieces of a running job's work that other workers may take; gone when the job ends.
tasks = Table(
    "tasks",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("work", String(32), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("items", JSON, nullable=False),
    Column("state", String(16), nullable=False),  # queued, running, done, failed
    Column("owner", String(160)),
    Column("lease", String(16)),
    Column("heartbeat", Float),
    # How many workers in a row ended with it in hand and nothing of it done.
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("result", JSON(none_as_null=True)),
    Column("message", Text, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Index("ix_tasks_state", "state", "created_at"),
    Index("ix_tasks_job", "job_id", "state"),
)

#: Workers that take part in each other's work.
workers = Table(
    "workers",
    metadata,
    Column("name", String(160), primary_key=True),
    Column("kinds", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("heartbeat", Float, nullable=False),
)

#: Who may use the HTTP API. Only a hash of the secret is kept; a revoked key stays as a row, so that calls keep a name.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("role", String(8), nullable=False, server_default="manage"),  # look, label, manage
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),  # NULL: never
    Column("calls_per_minute", Integer),  # NULL: as many as come
    Column("revoked_at", Float),
)

#: The latest calls of the HTTP API, for people to look at. No foreign keys: a call may name what was never there.
api_calls = Table(
    "api_calls",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("key_id", String(32), nullable=False),
    Column("function_id", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("verdict", Text),
    Column("milliseconds", Float, nullable=False),
    Column("status", Integer, nullable=False),
    Index("ix_api_calls_function", "function_id", "sequence"),
)

#: Verdicts that somebody asked to be kept, with all that stood beside them. The picture itself is not kept, but small.
records = Table(
    "records",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("perceptual_hash", String(32), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("grade", String(16), nullable=False),
    # No foreign key: the record stays true when its model is gone.
    Column("model_id", String(32), nullable=False),
    Column("evidence", JSON, nullable=False),
    Column("thumbnail", LargeBinary),
    Column("door", String(16), nullable=False),  # page, api, command line
    # The user or the key that asked for it; NULL where nobody signs in.
    Column("kept_by", Text),
    Column("disputed_label", Text),
    Column("disputed_at", Float),
    Column("created_at", Float, nullable=False),
    Index("ix_records_function", "function_id", "created_at"),
    Index("ix_records_picture", "function_id", "sha256"),
)

#: Many pictures given to Invoke at once: one row for all of them, which a job works through.
invoke_runs = Table(
    "invoke_runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), nullable=False),
    Column("title", Text, nullable=False),
    Column("state", String(16), nullable=False),  # running, done, failed
    Column("total", Integer, nullable=False, default=0),
    Column("model_id", String(32)),
    Column("note", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Index("ix_invoke_runs_function", "function_id", "created_at"),
)

invoke_run_pictures = Table(
    "invoke_run_pictures",
    metadata,
    Column("run_id", ForeignKey("invoke_runs.id", ondelete="CASCADE"), primary_key=True),
    # The place among the files of the run.
    Column("position", Integer, primary_key=True),
    Column("file_name", Text, nullable=False),
    Column("sha256", String(64)),
    # The scores by label id, of the model as it was trained: what they say under the limit of now, and after adapting
    # the model, is worked out when they are read. NULL where the file could not be used.
    Column("scores", JSON(none_as_null=True)),
    # What of its file was never tried with every label, in words.
    Column("unlike", Text, nullable=False, default=""),
    # What else is to be said of it, as short names.
    Column("flags", JSON(none_as_null=True)),
    Column("problem", Text, nullable=False, default=""),
    Column("thumbnail", LargeBinary),
)

#: Invokes by day, door and model: counts only, nothing of a single picture.
invoke_days = Table(
    "invoke_days",
    metadata,
    Column("function_id", ForeignKey("functions.id", ondelete="CASCADE"), primary_key=True),
    Column("day", String(10), primary_key=True),  # 2026-11-03, UTC
    Column("door", String(16), primary_key=True),  # page, api
    Column("model_id", String(32), primary_key=True),
    Column("count", Integer, nullable=False),
    # Counts by verdict and grade, and histograms of confidence and of what the files are like.
    Column("counts", JSON, nullable=False),
)

"""Named errors of the detector.

Each carries the facts it was raised with. ``str(error)`` is one sentence for people: what happened, to what, and what
to do about it. Pages, the command line and the API print that sentence; nothing else turns errors into words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from detector.formatting import listed

#: Of a file's place, in a sentence.
_LONGEST_PLACE = 300


class DetectorError(Exception):
    """Base of everything that the detector raises on purpose."""


class ImageError(DetectorError):
    """A file cannot be used as an image. ``name`` is the file's name as the user knows it."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class EmptyFile(ImageError):
    def __init__(self, name: str) -> None:
        super().__init__(name, f"{name} is empty (0 bytes). Export or download it again.")


class NotAnImage(ImageError):
    """The bytes begin like nothing that is read here; ``sentence`` is for the subclasses that know what it is."""

    def __init__(self, name: str, sentence: str | None = None) -> None:
        super().__init__(
            name,
            sentence or f"{name} is not an image that can be read. Use JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC.",
        )


class ImageNotSupported(NotAnImage):
    """Whole, as far as can be told, but of a kind that is not read. ``kind`` says which: "a Photoshop file"."""

    def __init__(self, name: str, kind: str, sentence: str | None = None) -> None:
        super().__init__(
            name, sentence or f"{name} is {kind}; that kind is not supported. Save the picture as JPEG or PNG."
        )
        self.kind = kind


class CameraRawFile(ImageNotSupported):
    """What a sensor has seen, not yet a picture; all that could be taken is a preview. ``raw`` is such as "DNG"."""

    def __init__(self, name: str, raw: str) -> None:
        kind = f"a camera raw file ({raw})"
        super().__init__(name, kind, f"{name} is {kind}. Export it as JPEG or TIFF and use that file.")
        self.raw = raw


class ImageDamaged(ImageError):
    def __init__(self, name: str, detail: str) -> None:
        super().__init__(name, f"{name} is damaged or cut off and cannot be decoded. Export or download it again.")
        self.detail = detail


class ImageTooManyBytes(ImageError):
    def __init__(self, name: str, found: int, limit: int) -> None:
        super().__init__(
            name,
            f"{name} has {found / 1e6:,.1f} MB; at most {limit / 1e6:,.0f} MB are accepted. "
            "Save it smaller, or raise DETECTOR_MAX_IMAGE_MB.",
        )
        self.found, self.limit = found, limit


class ImageTooManyPixels(ImageError):
    def __init__(self, name: str, width: int, height: int, limit: int) -> None:
        super().__init__(
            name,
            f"{name} has {width:,} x {height:,} pixels; at most {limit / 1e6:,.0f} megapixels are accepted. "
            "Scale it down, or raise DETECTOR_MAX_MEGAPIXELS.",
        )
        self.width, self.height, self.limit = width, height, limit


class EntryUnreadable(ImageError):
    """One file of a folder or an archive cannot be read; ``why`` says what stands in the way."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, f"{name} cannot be read: {why}.")
        self.why = why


class NotStored(ImageError):
    """One file was looked at, but the disk would not take it, and takes others; ``why`` is what it said."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, f"{name} could not be stored, several times over ({why}). Import it again.")
        self.why = why


class LabelUnusable(ImageError):
    """The label that a folder or a table gives to a file can be nobody's; ``why`` is the whole sentence on it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, f"It was not imported, because its label cannot be used: {why}")
        self.why = why


class PlaceUnusable(DetectorError):
    """Where pictures to score should lie, nothing can be read; ``why`` says what stands in the way."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place} cannot be used: {why}. Give a folder, a pattern, a list or an address of pictures.")
        self.place, self.why = place, why


class PicturesUnreachable(DetectorError):
    """Pictures to score cannot be had just now, none of their store; ``why`` says what stands in the way."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(
            f"The store of {place} cannot be read just now: {why}. Nothing is noted of the pictures that were on their "
            "way. Once the store answers, the same command resumes."
        )
        self.place, self.why = place, why


class ScoredOtherwise(DetectorError):
    """The results that are there belong to another model, other thresholds or another list; ``what`` says which."""

    def __init__(self, out: str, what: str, remedy: str) -> None:
        super().__init__(f"{out} was begun otherwise: {what}. {remedy}")
        self.out, self.what = out, what


class ArchiveError(DetectorError):
    """An uploaded archive cannot be used at all."""


class NotFound(DetectorError):
    def __init__(self, noun: str, key: str) -> None:
        super().__init__(f"There is no {noun} {key!r}. It may have been deleted.")
        self.noun, self.key = noun, key


class StoredFileDamaged(ImageError):
    """The stored bytes of an image are not those that were imported, or, with a ``why``, cannot be read."""

    def __init__(self, image_hash: str, why: str = "") -> None:
        what = f"cannot be read ({why})" if why else "is damaged"
        super().__init__(
            image_hash, f"The stored file of this picture {what}. Import the same picture again to mend it."
        )


class NamedFileDamaged(NotFound):
    """The bytes under a name of our own, such as a model's, are not those that were stored there: as good as none."""

    def __init__(self, name: str) -> None:
        super().__init__("file", name)
        self.args = (f"The stored file {name} is damaged, and cannot be used.",)


class StoredFileMissing(NotFound):
    """The bytes of an image that was imported are not there any more."""

    def __init__(self, image_hash: str) -> None:
        super().__init__("image", image_hash)
        self.args = ("The stored file of this picture is missing from the data folder. Import the same picture again.",)


class PlacedFileUnusable(StoredFileDamaged):
    """A picture that was imported in place is not what it was; ``why``: "has changed since it was imported" or so."""

    def __init__(self, image_hash: str, place: str, why: str) -> None:
        super().__init__(image_hash, why)
        self.place, self.why = place, why
        self.args = (
            f"The file {shown_place(place)} {why}. It was imported in place, so there is no copy of it. Put the old "
            "file back, or import the folder again with --in-place to take what is there now as a new picture.",
        )


class PlacedFileMissing(StoredFileMissing):
    """A picture that was imported in place does not lie there any more."""

    def __init__(self, image_hash: str, place: str) -> None:
        super().__init__(image_hash)
        self.place = place
        self.args = (
            f"The file {shown_place(place)} is not there any more. It was imported in place, so there is no copy of "
            "it. Put it back or connect its disk, or import it again with --in-place from where it lies now.",
        )


def shown_place(place: str) -> str:
    """A path of a file as a part of a sentence: printable, and not longer than is read."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in place)
    return shown if len(shown) <= _LONGEST_PLACE else f"{shown[:100]}...{shown[103 - _LONGEST_PLACE :]}"


class Conflict(DetectorError):
    """Something of that name or content is already there; ``existing_id`` says which."""

    def __init__(self, sentence: str, existing_id: str) -> None:
        super().__init__(sentence)
        self.existing_id = existing_id


class InvalidInput(DetectorError):
    """A value that a person or program gave cannot be used; the sentence says which and what is expected."""


class CaptureBoundReached(DetectorError):
    """As many pictures as the function takes in a month were captured by themselves already."""

    def __init__(self, a_month: int) -> None:
        super().__init__(
            f"{a_month:,} pictures were captured this month, as many as this function takes. Raise the bound, or wait "
            "for the next month."
        )
        self.a_month = a_month


class BackboneUnavailable(DetectorError):
    """The backbone's weights cannot be had on this machine now."""

    def __init__(self, backbone_id: str, why: str, remedy: str) -> None:
        super().__init__(f"The backbone {backbone_id} is not available: {why}. {remedy}")
        self.backbone_id, self.why, self.remedy = backbone_id, why, remedy


class DownloadFailed(DetectorError):
    """A file cannot be fetched from the model hub; ``why`` and ``remedy`` fit into the sentence of who wanted it."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(f"The download of {what} failed: {why}. {remedy}")
        self.what, self.why, self.remedy = what, why, remedy


class NotOnTheHub(DownloadFailed):
    """The repository has no such file."""


class NotTrainable(DetectorError):
    """Training cannot start; the sentence says what is missing."""


class NothingLeftToTrain(DetectorError):
    """Putting samples aside would leave too few of a label; nothing was moved."""

    def __init__(self, label: str, training: int, left: int) -> None:
        which = f"all {training:,}" if left == 0 else f"all but {left:,} of the {training:,}"
        super().__init__(
            f"Nothing was put aside: {which} training images labelled {label} would go, and it could not be "
            f"learned any more. "
            f"Put only some of them aside, or first import {label} images from another source."
        )
        self.label, self.training, self.left = label, training, left


class NoModel(DetectorError):
    """The function has no live model yet; the sentence says what is missing."""


class PictureRefused(ImageError):
    """A picture that is given to adapt a detector to shows nothing about it; ``why`` says so, its name before it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, f"{name} {why}")
        self.why = why


class NotTwoLabels(DetectorError):
    """A detector can be adapted only where it tells two labels apart."""

    def __init__(self, labels: int) -> None:
        super().__init__(
            f"This function tells {labels:,} labels apart. Adapting moves the border between two labels, so it is "
            "possible with two only. Import labelled pictures of that place instead, and the next model learns them."
        )
        self.labels = labels


class TooFewPictures(DetectorError):
    """So few pictures show nothing about the place that they come from; ``refused`` says what was wrong with others."""

    def __init__(self, counts: Mapping[str, int], needed: int, refused: Sequence[ImageError] = ()) -> None:
        have = listed(f"{n:,} {label}" for label, n in counts.items())
        left_out = f" after {len(refused):,} were left out" if refused else ""
        super().__init__(
            f"There are {have} pictures{left_out}; it takes {needed:,} of each label to adapt to them. Add more "
            "pictures from the place where the detector is used."
        )
        self.counts, self.needed, self.refused = dict(counts), needed, tuple(refused)


class AdaptingMakesWorse(DetectorError):
    """On the given pictures the detector is right less often when adapted; ``found`` says so in counts."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"Adapting does not help on these pictures. {found} Nothing was changed. Give more pictures, or import "
            "them and let the next model learn them."
        )
        self.found = found


class NotAuditable(DetectorError):
    """The samples or labels of a model's training are not those of today; ``version`` is the model's."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"Model {version} cannot be examined any more: samples or labels were changed since its training. Wait for "
            "the next model, or make the newest one live."
        )
        self.version = version


class Busy(DetectorError):
    """The server has as much to do as it takes on; ``retry_seconds`` is a fair time to wait."""

    retry_seconds = 2


class InvokeBusy(Busy):
    """More invokes at once than the queue holds."""

    def __init__(self, places: int) -> None:
        super().__init__(
            f"{places} invokes are being answered already. Ask again in {self.retry_seconds} s, or send several images "
            "in one request."
        )
        self.places = places


class ExplainBusy(Busy):
    """More invokes at once ask for all that stands beside a verdict than are worked on."""

    def __init__(self, places: int) -> None:
        super().__init__(
            f"{places} {'picture is' if places == 1 else 'pictures are'} being explained already. Ask again in "
            f"{self.retry_seconds} s, or without explain=true."
        )
        self.places = places


class PostsBusy(Busy):
    """More samples are being posted at once than are taken."""

    def __init__(self, places: int) -> None:
        super().__init__(f"{places} samples are being taken already. Send this one again in {self.retry_seconds} s.")
        self.places = places


class BodiesBusy(Busy):
    """What is being sent fills the memory that is set aside for it."""

    def __init__(self, budget: int) -> None:
        super().__init__(
            f"The {budget / 1e6:,.0f} MB of memory for what is being sent are taken. Send it again in "
            f"{self.retry_seconds} s, or fewer at a time (DETECTOR_BODIES_MB is the setting)."
        )
        self.budget = budget


class TooManyCalls(Busy):
    """A key calls more often than it was made for."""

    def __init__(self, per_minute: int, seconds: int) -> None:
        super().__init__(
            f"This key may make {per_minute:,} {'call' if per_minute == 1 else 'calls'} a minute, and has made them. "
            f"Wait {seconds:,} s."
        )
        self.per_minute, self.retry_seconds = per_minute, seconds


class AddressRefused(DetectorError):
    """A picture cannot be fetched from the address that was given; the sentence says why."""


class ModelFileInvalid(DetectorError):
    """A model file is damaged, foreign or of a newer version."""


class MadeAgain(DetectorError):
    """What was worked out from the samples cannot be read any more; the next build works it out anew."""


class StoredModelUnusable(MadeAgain):
    """The files of a model are damaged, or not there; ``state`` says which."""

    def __init__(self, version: int, state: str) -> None:
        super().__init__(
            f"What is stored of model {version} is {state}, and it cannot be used. Where it is the live one, a new "
            "model is trained in its place by itself; wait for that, or put another version back on the Metrics page."
        )
        self.version, self.state = version, state


class StoredEmbeddingsDamaged(MadeAgain):
    """Embeddings are not as many numbers as they were."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"What is stored of how the network sees {number:,} of these images is damaged. They are looked at again "
            "by themselves; wait until that is done."
        )
        self.number = number


class DatabaseTooNew(DetectorError):
    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"The database was written by a newer version of this program (schema {found}; this version knows "
            f"{supported}). Update the program, or use another data folder (DETECTOR_DATA_DIR)."
        )
        self.found, self.supported = found, supported


class StorageTrouble(DetectorError):
    """The data folder or its database could not be written or read; what was confirmed before is there.

    ``passes``: whether the same may go well later, without anything of the data being changed. Who asked is told; work
    in the background waits and goes on by itself.
    """

    passes = True
    #: A fair time to wait before asking again.
    retry_seconds = 10


class StorageFull(StorageTrouble):
    """There is no room left, or a quota is used up."""

    def __init__(self) -> None:
        super().__init__(
            "The disk of the data folder is full, and this could not be stored. Make room; what was stored before is "
            "kept, and work in the background goes on by itself."
        )


class TooLittleRoom(StorageFull):
    """There is room, but less than the settings keep free: nothing that adds pictures begins."""

    def __init__(self, free: int, kept: int) -> None:
        super().__init__()
        self.free, self.kept = free, kept
        self.args = (
            f"The disk of the data folder has {free / 1e6:,.0f} MB left, and {kept / 1e6:,.0f} MB are kept free for "
            "labels and all else (DETECTOR_MIN_FREE_MB is the setting). Make room, by deleting samples for instance; "
            "work in the background then goes on by itself.",
        )


class StorageUnavailable(StorageTrouble):
    """The machine refuses for a reason that may pass: ``why`` is such as "disk I/O error"."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The data folder or its database cannot be written or read just now ({why}). Try again in a moment; if it "
            "stays so, look at the disk, its permissions and the database server."
        )
        self.why = why


class StoreUnavailable(StorageUnavailable):
    """The object store of DETECTOR_STORE cannot be used; ``why`` is in our own words, without its address and keys."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.args = (
            f"The object store that holds pictures and models cannot be used just now: {why}. Try again in a moment; "
            "if it stays so, look at the store, and at DETECTOR_STORE and the AWS_... variables of this program.",
        )


class StorageDamaged(StorageTrouble):
    """What is stored cannot be understood any more; waiting does not help. ``why`` is the database's own words."""

    passes = False

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The database is damaged ({why}). Stop the program and put back a copy of the data folder from before. "
            "Without one, copy the folder first: in the copy sqlite3 says with PRAGMA integrity_check what is hit and "
            "with .recover saves what can still be read; pictures and models are files of their own in blobs."
        )
        self.why = why


class ClusterUnavailable(StorageTrouble):
    """The Dask cluster that shares the work cannot be reached, or was lost in the middle: what is stored is kept.

    No trouble of storage, but one that passes in the same way: the work waits, and goes on by itself.
    """

    def __init__(self, address: str, why: str) -> None:
        super().__init__(
            f"The Dask cluster at {address} cannot be used just now ({why}). See that its scheduler and workers run, "
            "or unset DETECTOR_DASK to work on this machine; what is done already is kept."
        )
        self.address, self.why = address, why


class SharedWorkFailed(DetectorError):
    """A part of shared work could not be done by whoever took it; the sentence says where and why."""


class BackupUnusable(DetectorError):
    """A backup cannot be made or used; the sentence says why and what to do."""


class BackupDamaged(BackupUnusable):
    """Some byte of a backup is not what was written; ``what``: which of its files, empty where that cannot be said."""

    def __init__(self, name: str, what: str = "") -> None:
        inside = f": {what} in it is not what was written" if what else ", or was cut off"
        super().__init__(f"The backup {name} is damaged{inside}. Nothing was restored. Use another backup.")
        self.name, self.what = name, what


class BackupLocked(BackupUnusable):
    """A backup is encrypted, and no passphrase or a wrong one was given."""

    def __init__(self, name: str, given: bool) -> None:
        why = "that is not its passphrase, or its first bytes are damaged" if given else "no passphrase was given"
        super().__init__(
            f"The backup {name} is encrypted, and {why}. Give the passphrase in DETECTOR_BACKUP_PASSPHRASE or with "
            "--passphrase-file."
        )


class DataFolderUnusable(DetectorError):
    """The data folder, or the database that belongs to it, cannot be opened; the sentence says why and what to do."""


class NoRoomForUpgrade(DataFolderUnusable):
    """A database is copied before its tables are changed, and the disk has no room for that."""

    def __init__(self, needed: int, free: int) -> None:
        super().__init__(
            "The database was made by an older version of this program. Before it is changed it is copied, "
            f"which takes {needed / 1e6:,.0f} MB with its upgrade, and the disk has room for "
            f"{free / 1e6:,.0f} MB. Nothing was changed. Make room, then start again."
        )
        self.needed, self.free = needed, free


class UpgradeLostRows(DataFolderUnusable):
    """Rows are missing after an upgrade, or in the copy that is made before it; nothing was changed.

    ``lost``: by table, how many there were and are. ``found``: the version of before; None: it is the copy.
    """

    def __init__(self, found: int | None, wanted: int, lost: Mapping[str, tuple[int, int]]) -> None:
        which = ", ".join(f"{name}: {there:,} instead of {were:,}" for name, (were, there) in lost.items())
        where = "in the copy that is made before" if found is None else "after"
        super().__init__(
            f"The database was left as it was, because rows were missing {where} the upgrade to schema {wanted} "
            f"({which}). Go on with the version of the program that was used before, and report this."
        )
        self.found, self.wanted, self.lost = found, wanted, dict(lost)


class DatabaseMissing(DataFolderUnusable):
    """There is no database where one was: a new one beside the old pictures would look as if all of it were gone."""


class JobCancelled(DetectorError):
    """Raised inside a job whose function was deleted or which was cancelled by a person."""


class JobTakenOver(JobCancelled):
    """Raised inside a job that was given to another process, which runs it now: this one leaves it alone."""


class JobGivenUp(DetectorError):
    """A background process died or hung with a job again and again."""

    def __init__(self, crashes: int) -> None:
        super().__init__(
            f"The background process stopped unexpectedly {crashes} times while it worked on this, so it is not tried "
            "again by itself. The server's log says more; often memory is short. What was imported is kept."
        )


class DatasetUnavailable(DetectorError):
    """A public set of images cannot be fetched; ``name`` says which, ``why`` what stood in the way."""

    def __init__(self, name: str, why: str, remedy: str) -> None:
        super().__init__(f"{name} cannot be fetched: {why}. {remedy}")
        self.name, self.why = name, why


class Unprotected(DetectorError):
    """The server would be open to everybody who can reach it."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"The server does not start because it would listen on {address or 'every address'} and let in everybody "
            "who can reach it: set DETECTOR_PASSWORD_HASH (python -m detector password makes one), make a user "
            "(python -m detector users create NAME --role manage), configure [auth] in .streamlit/secrets.toml, say "
            "DETECTOR_OPEN=true, or listen on localhost."
        )
        self.address = address


class WrongPassword(DetectorError):
    def __init__(self, sentence: str = "That is not the password.") -> None:
        super().__init__(sentence)


class NotAllowed(DetectorError):
    """Somebody's role does not reach; nothing was changed."""

    def __init__(self, who: str, role: str, needed: str, what: str) -> None:
        super().__init__(
            f"{who} has the role {role!r}, and {what} takes the role {needed!r}. Nothing was changed. Ask somebody "
            "with the role 'manage' to do it, or to give you that role."
        )
        self.who, self.role, self.needed, self.what = who, role, needed, what


class SignedOut(NotAllowed):
    """Nobody is signed in here any more."""

    def __init__(self) -> None:
        DetectorError.__init__(
            self, "You are signed out, or your access was changed. Nothing was changed. Reload the page and sign in."
        )


class KeyExpired(DetectorError):
    """A key of the API whose time is over."""

    def __init__(self) -> None:
        super().__init__("This key has expired. Ask somebody with the role 'manage' for a new one.")


class TooManyAttempts(DetectorError):
    """Guessing is slowed: nothing is checked before ``seconds`` have passed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Too many wrong passwords. Wait {ceil(seconds):,} s, then try again.")
        self.seconds = seconds

"""Files that are damaged or a stranger's: they work, or a sentence names them.

`pytest tests/test_hostile_files.py --hypothesis-profile long` looks for what is not so.
"""

import csv
import io
import warnings
import zipfile

import hostile
import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import small
import torch
import torchvision
from hostile import as_json
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import data, files
from helpers.data import decoding, folder, remarks
from helpers.evaluation import prediction, records, results
from helpers.models import backbones, classifier_files, conversion, heads, weight_files
from helpers.notebook import answers
from helpers.training import ownership, pretraining, starting_points
from helpers.training.settings import configure

pytestmark = pytest.mark.usefixtures("small_backbone")
# Where every example trains, or reads many files.
FEW = settings(max_examples=max(10, settings.default.max_examples // 4))


@pytest.fixture(autouse=True)
def _warnings_are_allowed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for the files under test; every example writes them anew."""
    return tmp_path_factory.mktemp("hostile")


def written(file, content):
    """The file, with that content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


# Weights

ABOUT = {
    **{"backbone": "resnet18", "stem": "imagenet", "norm": "batch", "method": "pirl"},
    **{"recipe": "minutes", "init": "random", "data": "demo", "epochs": 3},
    **{"epochs_done": 3, "images": 144, "batch_size": 16, "image_size": 20},
    **{"evaluation_size": 24, "knn": 50.0, "minutes": 0.5, "seed": 0},
    "options": {"view": {"size": 20, "scale": [0.2, 1.0]}},
}
CLASSIFIER = {
    **{"network": {"backbone": "resnet18", "stem": "small"}, "fit": "crop"},
    **{"classes": ["cat", "dog"], "image_size": 20, "stored_size": 32},
    **{"protocol": "fine-tuning", "method": "PIRL", "data": "mine", "top1": 87.25},
}
WEIGHTS = small.backbone().state_dict()
ODD_TENSORS = (
    *(torch.zeros(()), torch.zeros(0), torch.zeros(3, 3), torch.full((8,), torch.nan)),
    *(torch.full((8,), -1.0), torch.full((8,), 3e38), torch.zeros(8, dtype=torch.int8)),
    *(torch.zeros(8).bool(), torch.zeros(8).double(), torch.zeros(8).half()),
    *(torch.zeros(8, dtype=torch.complex64), torch.ones(8).to(torch.float8_e5m2)),
)


def backbone_bytes(about=ABOUT, tensors=WEIGHTS):
    return safetensors.torch.save(dict(tensors), {"about": as_json(about).decode()})


@pytest.fixture(scope="module")
def classifier(place):
    """The metadata and the tensors of a whole classifier file."""
    file = place / "whole" / classifier_files.CLASSIFIER_FILE
    classifier_files.save(file, heads.Classifier(small.backbone(), 2), CLASSIFIER)
    return weight_files.read_about(file), safetensors.torch.load_file(file)


@pytest.fixture(scope="module")
def photo(place):
    return written(place / "photo.png", IMAGES["png"])


def use_backbone(file):
    """All that is done with a backbone file."""
    with hostile.one_sentence(file.name):
        assert weight_files.describe(weight_files.read_about(file)).isprintable()
        chosen = starting_points.from_file(file)
        assert chosen.name.isprintable()
        given = {"method": chosen.name, "protocol": "k-NN", "data": "x", "labels": 1}
        shaped = records.conditions(**given, seeds=1, about=chosen.about)
        records.check(records.finished(shaped, top1=[50.0], minutes=1.0))
        network = chosen.create()
        assert all(one.isfinite().all() for one in network.parameters())
    with hostile.one_sentence():
        configure("byol", **starting_points.pretraining_settings(str(file))).identity()
    weight_files.find_backbones([file.parent.parent])


def use_classifier(file, photo):
    """All that is done with a classifier file."""
    with hostile.one_sentence(file.name):
        about = classifier_files.read_about(file)
        assert classifier_files.describe(about)
        classifier_files.load(file)
    with hostile.one_sentence():
        found = prediction.predict(file, [photo])
        assert all(line.isprintable() for line in found.lines())
        assert found.probabilities.isfinite().all()
        found.save(file.with_suffix(".csv"))


@given(hostile.damaged(backbone_bytes()))
def test_damaged_backbone_files(place, content):
    use_backbone(written(place / "run" / weight_files.BACKBONE_FILE, content))


@given(hostile.changed(ABOUT))
def test_backbone_files_with_odd_metadata(place, about):
    file = place / "run" / weight_files.BACKBONE_FILE
    use_backbone(written(file, backbone_bytes(about)))


@given(st.sampled_from([*WEIGHTS, "more"]), st.sampled_from(ODD_TENSORS))
def test_backbone_files_with_odd_tensors(place, name, tensor):
    content = backbone_bytes(tensors={**WEIGHTS, name: tensor})
    use_backbone(written(place / "run" / weight_files.BACKBONE_FILE, content))


@FEW
@given(st.data())
def test_damaged_classifier_files(place, classifier, photo, data):
    about, tensors = classifier
    content = data.draw(hostile.damaged(backbone_bytes(about, tensors)))
    use_classifier(written(place / "c.safetensors", content), photo)


@FEW
@given(st.data())
def test_classifier_files_with_odd_metadata(place, classifier, photo, data):
    about, tensors = classifier
    content = backbone_bytes(data.draw(hostile.changed(about)), tensors)
    use_classifier(written(place / "c.safetensors", content), photo)


@FEW
@given(st.data())
def test_classifier_files_with_odd_tensors(place, classifier, photo, data):
    about, tensors = classifier
    name = data.draw(st.sampled_from([*tensors, "more"]))
    tensors = {**tensors, name: data.draw(st.sampled_from(ODD_TENSORS))}
    content = backbone_bytes(about, tensors)
    use_classifier(written(place / "c.safetensors", content), photo)


@pytest.fixture(scope="module")
def foreign():
    """A checkpoint with the names of a ResNet's weights, but hardly any numbers."""
    with torch.device("meta"):
        shapes = torchvision.models.resnet18().state_dict()
    weights = {f"module.{name}": torch.zeros(1) for name in shapes}
    return {"state_dict": weights, "epoch": 3, "args": {"arch": "resnet18"}}


@given(st.data())
def test_damaged_checkpoints_of_other_projects(place, foreign, data):
    beside = io.BytesIO()
    torch.save(foreign, beside)
    content = data.draw(hostile.damaged(beside.getvalue()))
    with hostile.one_sentence("foreign.pth"):
        conversion.backbone_file(written(place / "foreign.pth", content), place)


@given(st.data())
def test_odd_checkpoints_of_other_projects(place, foreign, data):
    content, beside = data.draw(hostile.changed(foreign)), io.BytesIO()
    torch.save(content, beside)
    with hostile.one_sentence("foreign.pth"):
        conversion.backbone_file(
            written(place / "foreign.pth", beside.getvalue()), place
        )


# States

RUN = configure("byol", **small.SETTINGS | {"epochs": 3, "optimizer": "adamw"})


@pytest.fixture(scope="module")
def stopped(place):
    """The folder of a run that was stopped after two epochs, and its last state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "build", small.backbone)
        run = pretraining.pretrain(
            RUN, small.dataset(), folder=place / "runs", stop_after=2
        )
    state = next(run.folder.glob("state-00002-*.pt"))
    return run.folder, state.read_bytes()


def go_on(run, content, *, honest):
    """Train on from a state of this content, under the name of its digest or another.

    Returns:
        Whether the run has come to its end.
    """
    for file in run.glob("state-*"):
        file.unlink()
    file = written(run / "state-00002-00000000.pt", content)
    if honest:
        file.rename(run / f"state-00002-{files.digest(file)}.pt")
    with hostile.one_sentence():
        ended = pretraining.pretrain(RUN, small.dataset(), folder=run.parent)
        assert [entry["epoch"] for entry in ended.history] == [1, 2, 3]
        return True


@FEW
@given(st.data())
def test_damaged_states(stopped, data):
    run, whole = stopped
    content = data.draw(hostile.damaged(whole))
    go_on(run, content, honest=True)


def test_damaged_states_are_passed_over(stopped):
    run, whole = stopped
    assert go_on(run, whole[:-1], honest=False)


@FEW
@given(st.data())
def test_odd_states(stopped, data):
    run, whole = stopped
    content = torch.load(io.BytesIO(whole), weights_only=True)
    content["optimizer"] = {**content["optimizer"]}
    beside = io.BytesIO()
    torch.save(data.draw(hostile.changed(content)), beside)
    go_on(run, beside.getvalue(), honest=True)


@FEW
@given(st.data())
def test_states_with_odd_tensors(stopped, data):
    run, whole = stopped
    content = torch.load(io.BytesIO(whole), weights_only=True)
    tensor = data.draw(st.sampled_from(ODD_TENSORS))
    where = data.draw(st.sampled_from(["method", "moments", "part"]))
    moments = content["optimizer"]["state"]
    owner = content["method"] if where == "method" else content["part"]
    if where == "moments":
        owner = moments[data.draw(st.sampled_from([*moments]))]
    owner[data.draw(st.sampled_from([*owner]))] = tensor
    beside = io.BytesIO()
    torch.save(content, beside)
    go_on(run, beside.getvalue(), honest=True)


OWNER = {"process": 2**22, "machine": "here", "since": "2026-11-27 10:00:00+00:00"}


@given(st.one_of(hostile.changed(OWNER).map(as_json), hostile.damaged(as_json(OWNER))))
def test_owners_that_are_no_processes(place, content):
    written(place / "owned" / ".owner", content)
    with ownership.own(place / "owned") as is_sure:
        assert is_sure


# Images


def image_bytes(kind, mode="RGB", **options):
    """An image of 24 x 17 px in one of Pillow's formats."""
    random = np.random.default_rng(0)
    shape = (17, 24, 3)[: 3 if mode == "RGB" else 2]
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    if mode in ("I;16", "F"):
        pixels = pixels.astype(np.uint16 if mode == "I;16" else np.float32) * 200
    image = PIL.Image.fromarray(pixels)
    image = image.convert(mode) if mode in ("P", "1") else image
    image.getexif()[0x0112] = 6
    beside = io.BytesIO()
    image.save(beside, kind, exif=image.getexif(), **options)
    return beside.getvalue()


IMAGES = {
    "png": image_bytes("PNG"),
    "png of 16 bits": image_bytes("PNG", "I;16"),
    "png with a palette": image_bytes("PNG", "P"),
    "jpeg": image_bytes("JPEG"),
    "grey jpeg": image_bytes("JPEG", "L"),
    "progressive jpeg": image_bytes("JPEG", progressive=True),
    "tiff": image_bytes("TIFF"),
    "tiff of floats": image_bytes("TIFF", "F"),
    "packed tiff": image_bytes("TIFF", compression="tiff_lzw"),
    "gif": image_bytes("GIF", "P"),
    "bmp": image_bytes("BMP"),
    "webp": image_bytes("WEBP"),
    "ppm": image_bytes("PPM"),
    "tga": image_bytes("TGA"),
    "ico": image_bytes("ICO"),
    "dds": image_bytes("DDS"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_whole_images_are_read(place, kind):
    decoded = decoding.examine(written(place / "image.png", IMAGES[kind]), 16)
    assert decoded.pixels is not None, decoded.reason


@settings(max_examples=4 * settings.default.max_examples)  # a millisecond each
@given(st.data())
def test_damaged_images(place, data):
    content = data.draw(hostile.damaged(IMAGES[data.draw(st.sampled_from([*IMAGES]))]))
    file = written(place / "image.png", content)
    decoded = decoding.examine(file, 16, data.draw(st.sampled_from([*decoding.FITS])))
    if decoded.pixels is None:
        assert decoded.reason.isprintable()
        assert decoded.reason
    else:
        assert (decoded.pixels.dtype, decoded.pixels.shape) == (np.uint8, (3, 16, 16))


# Data sets


def archive(compression=zipfile.ZIP_STORED):
    """A zip of class folders with five images each."""
    beside = io.BytesIO()
    with zipfile.ZipFile(beside, "w", compression) as made:
        for number, kind in enumerate(list(IMAGES)[:10]):
            name = f"pets/{'cat' if number % 2 else 'dog'}/{number}.png"
            made.writestr(name, IMAGES[kind])
        made.writestr("pets/labels.csv", "file,class\ncat/1.png,cat\n")
    return beside.getvalue()


def load(path, place):
    """Load a folder, zip or table, in both storages."""
    for storage in ("resident", "stream"):
        with hostile.one_sentence():
            found = folder.load(
                str(path), 16, kept_in=place / "kept", storage=storage, workers=0
            )
            assert found.describe().isprintable()
            assert len(found.pretraining) == len(found.pretraining.labels) > 0
            assert found.pretraining.images[:].shape[1:] == (3, 16, 16)
            assert len(found.classes) == int(found.pretraining.labels.max()) + 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@FEW
@given(st.data())
def test_damaged_archives(place, compression, data):
    content = data.draw(hostile.damaged(archive(compression)))
    load(written(place / "zips" / "pets.zip", content), place)
    inside = {file.name for file in (place / "zips").rglob("*")}
    assert inside == {"pets.zip"}  # nothing was unpacked beside it


TABLE = [
    ["file", "class", "split"],
    *([f"{number}.png", "cat" if number % 2 else "dog", ""] for number in range(8)),
    ["8.png", "", "unlabeled"],
    ["9.png", "cat", "test"],
]


@pytest.fixture(scope="module")
def table(place):
    """A folder of images for a table."""
    for number in range(10):
        written(place / "tabled" / f"{number}.png", list(IMAGES.values())[number])
    return place / "tabled" / "labels.csv"


def as_table(rows):
    beside = io.StringIO()
    csv.writer(beside).writerows(rows)
    return beside.getvalue().encode("utf-8", "surrogatepass")


CELLS = st.one_of(
    st.sampled_from(["", "\0", "..", "/", "../1.png", "1.png", ".", "C:\\1.png", "ſ"]),
    st.text(max_size=8),
    st.just(300 * "x"),
)


@FEW
@given(hostile.damaged(as_table(TABLE)))
def test_damaged_tables(place, table, content):
    load(written(table, content).parent, place)
    load(table, place)


@FEW
@given(st.data())
def test_tables_with_odd_cells(place, table, data):
    rows = [list(row) for row in TABLE]
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.sampled_from(rows))
        row[data.draw(st.integers(0, 2))] = data.draw(CELLS)
    load(written(table, as_table(rows)), place)


@FEW
@given(st.data())
def test_lists_of_checked_files_that_are_damaged(place, photo, data):
    for name in ("cat", "dog"):
        for number in range(2):
            written(place / "two" / name / f"{number}.png", photo.read_bytes())
    load(place / "two", place / "list")
    (kept,) = (place / "list" / "kept" / "checked").iterdir()
    whole = remarks.Checked(count=4, all_flat=False)
    known = {field: getattr(whole, field) for field in whole.__dataclass_fields__}
    odd = hostile.changed({**known, "broken": {"x.png": "damaged"}}).map(as_json)
    written(kept, data.draw(st.one_of(odd, hostile.damaged(as_json(known)))))
    load(place / "two", place / "list")


# Records and answers


def record():
    """A record of an evaluation as it stands in its file."""
    given = {"method": "PIRL", "protocol": "linear probe", "data": "demo", "labels": 20}
    more = {"settings": {"epochs": 3, "view": {"size": 20}}, "content": "0123abcd"}
    shaped = records.conditions(**given, seeds=2, about=ABOUT, **more)
    shaped |= {"over": results.WHOLE_PIPELINES, "seed_numbers": [0, 1]}
    return records.finished(shaped, top1=[60.0, 62.0], top5=[95.0, 96.0], minutes=1.0)


def show(folder):
    """All that is made of records; those that are damaged are left out."""
    found = results.collect(folder)
    text, page = results.markdown(found), results.table(found).to_html()
    assert "<img" not in text + page
    for one in found:
        records.name(one)
    with hostile.one_sentence():
        results.markdown_pivot(found)
    return len(found), text


@given(hostile.damaged(as_json(record())))
def test_damaged_records(place, content):
    with hostile.one_sentence("c.json"):
        records.read(written(place / "c.json", content))


@FEW
@given(hostile.changed(record()))
def test_odd_records(place, content):
    written(place / "records" / "a.json", as_json({**record(), "method": "BYOL"}))
    file = written(place / "records" / "b.json", as_json(content))
    count, text = show(place / "records")
    assert "BYOL" in text
    assert count in (1, 2)
    with hostile.one_sentence("b.json"):
        records.read(file)


ANSWERS = {"method": "pirl", "source": "demo-tiny", "labels": None, "recipe": "minutes"}
ANSWERS |= {"epochs": 4, "init": "random"}


@given(
    st.one_of(
        hostile.damaged(as_json({"pirl": ANSWERS})),
        hostile.changed({"pirl": ANSWERS}).map(as_json),
    )
)
def test_answers_that_are_damaged_or_odd(place, monkeypatch, content):
    monkeypatch.setenv("STL_CHECKPOINTS", str(place / "answered"))
    about = {**ABOUT, "data": "demo-tiny", "epochs": 4, "epochs_done": 2}
    written(place / "answered" / "run" / "backbone.safetensors", backbone_bytes(about))
    written(place / "answered" / answers.FILE, content)
    asked = answers.ask_pretraining("pirl")  # nobody answers: the defaults
    data.check(asked.source, asked.labels)
    with hostile.one_sentence():
        configure(asked.method, asked.recipe, epochs=asked.epochs, init=asked.init)

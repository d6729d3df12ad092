"""Predictions: the accuracy that was recorded, in the order asked for, as a table."""

import csv

import PIL.Image
import pytest
import small
import torch

from helpers import data, hardware
from helpers.evaluation import prediction, protocols
from helpers.models import classifier_files, encoding
from helpers.training import supervised
from helpers.views.settings import ViewSettings

pytestmark = pytest.mark.usefixtures("small_backbone")
CLASSES = ("blue, light", "green", "red")


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compute in float32, whatever the CPU could do faster."""
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of noise with one bright colour, wider than high."""
    root = tmp_path_factory.mktemp("own")
    for part, count, seed in (("train", 8, 3), ("test", 6, 4)):
        pixels = small.images(3 * count, side=40, seed=seed, high=190)
        for number, image in enumerate(pixels):
            image[2 - number % 3] += 60
            file = root / part / CLASSES[number % 3] / f"{number:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(image[:, 4:].permute(1, 2, 0).numpy()).save(file)
    return root


@pytest.fixture
def dataset(folder):
    return data.load(f"folder:{folder}", image_size=32)


def outcome(name, dataset):
    """Of a protocol that trains something."""
    about = {"backbone": "resnet18", "stem": "small", "method": "pirl", "knn": 50.0}
    experiment = protocols.Experiment(dataset, "PIRL", about, seeds=(3, 4))
    view = ViewSettings(size=20, scale=(0.5, 1.0), jitter=0, grayscale=0)
    settings = supervised.FineTuningSettings(epochs=4, batch_size=8, view=view)
    torch.manual_seed(0)
    if name == "fine_tune":
        return protocols.fine_tune(small.backbone, experiment, settings)
    if name == "baseline":
        return protocols.baseline(dataset, settings, seeds=(3, 4))
    features = protocols.encode(small.backbone(), dataset, image_size=24)
    if name == "mlp_head":
        head = supervised.HeadSettings(epochs=5, batch_size=8)
        return protocols.mlp_head(features, experiment, head)
    return protocols.linear_probe(features, experiment)


@pytest.mark.parametrize("name", ["baseline", "fine_tune", "mlp_head", "linear_probe"])
def test_the_file_has_the_accuracy_that_was_recorded(name, dataset, folder, tmp_path):
    made = outcome(name, dataset)
    file = made.save_classifier(tmp_path / "c.safetensors")
    found = prediction.predict(file, [folder / "test"])
    truth = [path.parent.name for path in found.images.paths]
    said = [best[0][0] for _, best in found.best()]
    right = sum(a == b for a, b in zip(said, truth, strict=True))
    assert 100 * right / len(truth) == pytest.approx(made.scores.top1)
    about = classifier_files.read_about(file)
    assert about["top1"] == made.scores.top1 == made.record["top1"][-1]
    assert about["classes"] == list(CLASSES)
    assert about["stored_size"] == 32
    assert about["image_size"] == (24 if name in ("mlp_head", "linear_probe") else 20)
    assert about["repetition"] == ("seed 0" if name == "linear_probe" else "seed 4")
    assert about["result"]["hardware"]


def test_probabilities_are_those_of_the_classifier_in_memory(dataset, folder, tmp_path):
    made = outcome("fine_tune", dataset)
    file = made.save_classifier(tmp_path / "c.safetensors")
    found = prediction.predict(file, [folder / "test"])
    logits = encoding.outputs(made.classifier, dataset.test.images, image_size=20)
    assert torch.allclose(found.probabilities, logits.softmax(dim=1), atol=1e-5)


@pytest.fixture
def file(dataset, tmp_path):
    return outcome("linear_probe", dataset).save_classifier(tmp_path / "c.safetensors")


def test_broken_files_do_not_stop_the_rest(file, folder, tmp_path):
    broken, photo = tmp_path / "broken.png", folder / "test" / "red" / "02.png"
    broken.write_text("no image")
    found = prediction.predict(file, [broken, tmp_path / "none.png", photo])
    assert found.images.paths == (photo,)
    assert list(found.images.unread) == [broken, tmp_path / "none.png"]
    (line,) = found.lines()
    assert line.startswith(f"{photo}: ")
    assert line.count("%") == 3


def test_the_order_is_that_of_the_command_and_of_the_names(file, folder):
    photo = folder / "test" / "red" / "08.png"
    found = prediction.predict(file, [photo, folder / "test"])
    again = prediction.predict(file, [photo, folder / "test"])
    assert found.images.paths[0] == photo
    assert list(found.images.paths[1:]) == sorted(found.images.paths[1:])
    assert torch.equal(found.probabilities, again.probabilities)


def test_the_table_has_file_class_and_probability(file, folder, tmp_path):
    found = prediction.predict(file, [folder / "test"])
    found.save(tmp_path / "said.csv")
    with open(tmp_path / "said.csv", encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0])[:3] == ["file", "class", "probability"]
    assert [row["file"] for row in rows] == [str(path) for path in found.images.paths]
    said = [CLASSES[number] for number in found.probabilities.argmax(dim=1)]
    assert [row["class"] for row in rows] == said
    best = found.probabilities.max(dim=1).values.tolist()
    assert [float(row["probability"]) for row in rows] == pytest.approx(best, abs=1e-5)
    total = [
        sum(float(row[key]) for key in row if key.startswith("probability"))
        for row in rows
    ]
    assert total == pytest.approx([1] * len(rows), abs=1e-5)


def test_another_table_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"said\.xlsx has no known ending: .*\.csv"):
        prediction.check(tmp_path / "said.xlsx")


def test_votes_of_neighbours_are_not_a_file(dataset, tmp_path):
    features = protocols.encode(small.backbone(), dataset, image_size=24)
    made = protocols.knn(features, protocols.Experiment(dataset, "PIRL"))
    with pytest.raises(ValueError, match="k-NN has no weights to save"):
        made.save_classifier(tmp_path / "c.safetensors")


def test_a_photo_is_drawn_beside_its_nearest_images(file, folder, dataset, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        prediction.embedding,
        "neighbors_figure",
        lambda *found: drawn.update(
            zip(("photo", "images", "cosines"), found, strict=True)
        ),
    )
    photo = folder / "train" / CLASSES[0] / "00.png"
    prediction.neighbors_figure(file, photo, dataset.train.images)
    # It is among them itself, so it is its own nearest image.
    assert torch.equal(drawn["images"][0], drawn["photo"])
    assert drawn["cosines"][0] == pytest.approx(1, abs=1e-5)
    assert drawn["images"].shape == (9, 3, 32, 32)

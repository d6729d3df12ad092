"""Folders as people have them: which files are taken, with which label, and why not."""

import os
import unicodedata

import pytest

from helpers.data import layout, remarks, split_names


def touch(root, *names):
    """Make files that look like images by their names."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return root


def many(*folders, count=5):
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


def find(root):
    left_out = layout.LeftOut()
    found = layout.find(root, left_out)
    return found, left_out.sentence()


def counts(found):
    return len(found.train), len(found.unlabeled), len(found.test)


def test_a_flat_folder_is_images_without_labels(tmp_path):
    found, words = find(touch(tmp_path, *many(".", count=7)))
    assert (found.classes, counts(found), words) == ((), (0, 7, 0), "")


def test_unlabeled_alone_is_images_without_labels(tmp_path):
    found, words = find(touch(tmp_path, *many("Unlabelled/a", "Unlabelled/b")))
    assert (found.classes, counts(found), words) == ((), (0, 10, 0), "")


def test_class_folders_without_a_split_hold_out_a_fifth_of_every_class(tmp_path):
    touch(tmp_path, *many("cat", count=20), *many("dog", count=10), "loose.png")
    found, words = find(tmp_path)
    assert (found.classes, counts(found), words) == (("cat", "dog"), (24, 1, 6), "")
    assert [label for _, label in found.test] == [0] * 4 + [1] * 2
    assert not {file for file, _ in found.train} & {file for file, _ in found.test}
    assert found.is_held_out
    assert find(tmp_path)[0] == found  # always the same


def test_another_image_hardly_moves_others_between_train_and_test(tmp_path):
    found, _ = find(touch(tmp_path, *many("cat", "dog", count=30)))
    before = {file for file, _ in found.test}
    more, _ = find(touch(tmp_path, "dog/another.png", "dog/one more.png"))
    after = {file for file, _ in more.test}
    assert len(before) == len(after) == 12
    assert len(before - after) <= 2
    assert {file for file in before if file.parent.name == "cat"} <= after


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("Train-Data", "validation data"),
        ("training_set", "test"),
    ],
)
def test_splits_may_be_called_as_in_competitions(train, test, tmp_path):
    kinds = [f"{split}/{kind}" for split in (train, test) for kind in ("cat", "dog")]
    more = many("seg_pred") if "seg" in train else []  # without labels, so not used
    found, _ = find(touch(tmp_path, *many(*kinds), *more))
    assert (found.classes, counts(found)) == (("cat", "dog"), (10, 0, 10))


def test_the_name_of_a_class_is_no_split(tmp_path):
    kinds = ("bullet train", "bus", "steam train")
    for more in ((), ("unlabeled",), tuple(f"test/{kind}" for kind in kinds)):
        root = tmp_path / str(len(more))
        found, _ = find(touch(root, *many(*kinds, *more)))
        assert found.classes == kinds
    found, _ = find(touch(tmp_path / "all", *many("a train", "b train", "unlabeled")))
    assert found.classes == ("a train", "b train")


def test_a_test_folder_without_classes_does_not_hide_val(tmp_path):
    names = many("train/a", "train/b", "val/a", "val/b", "test")
    found, words = find(touch(tmp_path, *names))
    assert counts(found) == (10, 0, 10)
    assert words == "Left out: 1 not used, because it has no class folders (test/)."


def test_class_folders_that_hold_the_same_folders_are_said(tmp_path):
    for names, shared in (
        (("cats/train", "cats/test", "dogs/train", "dogs/test"), ["test", "train"]),
        (("cats/1", "dogs/2"), []),
    ):
        root = tmp_path / names[0].replace("/", " ")
        found, _ = find(touch(root, *many(*names)))
        assert found.classes == ("cats", "dogs")
        assert remarks.shared_folders(found) == shared


def test_names_of_any_bytes_can_be_held_out(tmp_path):
    """As a zip of another system leaves them."""
    folder = os.fsencode(tmp_path / "pets" / "cat")
    os.makedirs(folder)
    for number in range(5):
        open(folder + b"/\xe9t\xe9%d.png" % number, "wb").close()
    found, _ = find(touch(tmp_path / "pets", *many("dog")))
    assert counts(found) == (8, 0, 2)


@pytest.mark.parametrize(
    ("names", "beside"),
    [
        (("bus", "car", "train"), "'bus', 'car'"),
        (("invalid", "valid"), "'invalid'"),
        (("control", "test"), "'control'"),
    ],
)
def test_a_class_that_is_called_like_a_split_is_asked_about(names, beside, tmp_path):
    touch(tmp_path, *many(*names))
    message = rf"{names[-1]}' has no class folders, but others .*\({beside}\): if it"
    with pytest.raises(ValueError, match=message):
        find(tmp_path)
    (tmp_path / names[-1]).rename(tmp_path / f"a {names[-1]}")
    assert len(find(tmp_path)[0].classes) == len(names)


def test_train_without_test_holds_out_a_fifth_too(tmp_path):
    found, _ = find(touch(tmp_path, *many("train/cat", "train/dog", "unlabeled")))
    assert counts(found) == (8, 5, 2)
    assert found.is_held_out


@pytest.mark.parametrize(
    "names",
    [("train", "test"), ("train", "val"), ("Train", "TEST"), ("training", "Valid")],
)
def test_splits_have_any_usual_name(names, tmp_path):
    train, test = names
    touch(tmp_path, *many(f"{train}/a", f"{train}/b", f"{test}/a", f"{test}/b"))
    found, words = find(tmp_path)
    assert (found.classes, counts(found), words) == (("a", "b"), (10, 0, 10), "")
    assert not found.is_held_out


def test_test_is_taken_before_val(tmp_path):
    splits = [f"{split}/{name}" for split in ("train", "val", "test") for name in "ab"]
    found, words = find(touch(tmp_path, *many(*splits)))
    assert {file.parent.parent.name for file, _ in found.test} == {"test"}
    assert words == "Left out: 1 not used, because there is test/ (val/)."


def test_a_folder_in_a_folder_is_opened(tmp_path):
    found, _ = find(touch(tmp_path, *many("photos/2026/cat", "photos/2026/dog")))
    assert found.classes == ("cat", "dog")
    assert found.root == tmp_path / "photos" / "2026"
    flat, _ = find(touch(tmp_path / "new", *many("DCIM/100APPLE")))
    assert counts(flat) == (0, 5, 0)


def test_loose_images_beside_class_folders_count_as_unlabeled(tmp_path):
    touch(tmp_path, *many("train/a", "train/b", "test/a", "test/b"), "train/x.png")
    assert counts(find(tmp_path)[0]) == (10, 1, 10)


def test_test_images_without_classes_are_never_learned_from(tmp_path):
    found, words = find(touch(tmp_path, *many("train/a", "train/b"), *many("test")))
    assert counts(found) == (8, 0, 2)
    assert "5 in test/ without a class folder (0.png, 1.png, 2.png)" in words
    alone, words = find(touch(tmp_path / "b", *many("unlabeled", "test/a", "test/b")))
    assert (alone.classes, counts(alone)) == ((), (0, 5, 0))
    assert "1 not used, because train/ is missing (test/)" in words
    loose = [*many("train"), *many("test/a", "test/b")]
    assert (
        "train/ has no class folders (test/)" in find(touch(tmp_path / "c", *loose))[1]
    )


def test_what_lies_beside_train_is_not_used(tmp_path):
    touch(tmp_path, *many("train/a", "test/a", "masks"), "cover.png")
    found, words = find(tmp_path)
    assert counts(found) == (5, 0, 5)
    assert "2 not used, because they lie beside train/ (masks, cover.png)" in words


HIDDEN = (
    "train/cat/.ipynb_checkpoints/0.png",
    "train/cat/.thumbnails/deep/0.png",
    "train/dog/@eaDir/000.png/0.png",
    "train/__MACOSX/cat/._000.png",
    "train/lost+found/1.png",
    "test/dog/.ipynb_checkpoints/0.png",
    "unlabeled/.Trash-1000/files/0.png",
    "__MACOSX/train/cat/._0.png",
    "train/cat/._0.png",
    "train/cat/.DS_Store",
    "test/cat/Thumbs.db",
)


def test_hidden_and_system_folders_are_passed_over_at_any_depth(tmp_path):
    touch(tmp_path, *many("train/cat", "train/dog", "test/cat", "test/dog"), *HIDDEN)
    touch(tmp_path, *many("unlabeled"))
    found, words = find(tmp_path)
    assert (found.classes, counts(found)) == (("cat", "dog"), (10, 5, 10))
    assert "4 hidden folder(s) (.ipynb_checkpoints, .thumbnails, .Trash-1000)" in words
    assert "4 system folder(s) (__MACOSX, lost+found, @eaDir)" in words
    assert "1 hidden file(s) (._0.png)" in words
    assert "Thumbs.db" not in words


def test_endings_that_are_not_read_are_counted(tmp_path):
    touch(tmp_path, "a.PGM", "b.jfif", "c.mpo", "d.dcm", "e.npy", "f.npy", "README")
    found, words = find(tmp_path)
    assert counts(found) == (0, 3, 0)
    assert words == (
        "Left out: 4 with an ending that Pillow does not read (README, .dcm, .npy)."
    )


def test_what_is_no_file_is_passed_over(tmp_path):
    touch(tmp_path, *many("."))
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dead.png").symlink_to("nothing")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    found, words = find(tmp_path)
    assert counts(found) == (0, 5, 0)
    assert "3 that are pipes, devices or dead links" in words


def test_two_ways_to_write_an_accent_are_one_class(tmp_path):
    one, other = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    touch(tmp_path, *many(f"train/{one}", f"test/{other}", "train/thé", "test/thé"))
    found, words = find(tmp_path)
    assert (found.classes, counts(found), words) == ((one, "thé"), (10, 0, 10), "")


def test_the_same_class_written_in_two_ways_loses_no_image(tmp_path):
    one, other = (unicodedata.normalize(form, "été") for form in ("NFC", "NFD"))
    touch(tmp_path, *many(one, other, "b"))
    found, _ = find(tmp_path)
    assert (found.classes, counts(found)) == (("b", one), (12, 0, 3))


def test_linked_folders_are_like_others_and_entered_once(tmp_path):
    touch(tmp_path / "disk", *many("part"))
    touch(tmp_path, *many("photos/unlabeled/own"))
    inside = tmp_path / "photos" / "unlabeled"
    (inside / "part").symlink_to(tmp_path / "disk" / "part")
    (inside / "own" / "back").symlink_to(inside)
    found, words = find(tmp_path / "photos")
    assert (counts(found), words) == ((0, 10, 0), "")


def test_a_class_without_test_images_can_be_used(tmp_path):
    touch(tmp_path, *many("train/a", "train/b", "train/rare", "test/a", "test/b"))
    (tmp_path / "test" / "rare").mkdir()
    (tmp_path / "train" / "empty").mkdir()
    found, words = find(tmp_path)
    assert (found.classes, counts(found)) == (("a", "b", "rare"), (15, 0, 10))
    assert words == "Left out: 1 class folder(s) without images (empty)."


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            many("train/Cat", "train/dog", "test/cat", "test/dog"),
            r"test/ has images of 'cat', of which train/ has none, and lacks 'Cat': ",
        ),
        (
            many(*(f"train/{n}" for n in range(1_000)))
            + many(*(f"test/{n}" for n in range(995, 1_005)), count=1),
            "test/ has images of '1000', '1001', '1002' and 2 more, of which train/ has"
            " none, and lacks '0', '1', '10' and 992 more: class folders must",
        ),
        (
            many("test/a", "test/b"),
            "has test/ but nothing to learn from: it needs a fo",
        ),
        (
            ["notes.txt"],
            r"There are no images in '.*': check the path\. Left out: 1 wi",
        ),
        ([], "There are no images in '.*': check the path"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(names, message, tmp_path):
    with pytest.raises(ValueError, match=message) as raised:
        find(touch(tmp_path, *names))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("folders", "classes", "expected"),
    [
        (["train2017", "val2017"], (), (5, 0)),  # COCO
        (["trainA", "trainB", "testA", "testB"], (), (10, 0)),  # CycleGAN
        (["train/images", "valid/images"], (), (5, 0)),  # Roboflow
        (["images/a", "images/b", "meta"], ("a", "b"), (0, 2)),  # Food-101
        (["train/images/a", "train/images/b"], ("a", "b"), (0, 2)),
        (["labeled/a", "labeled/b", "unlabeled"], ("a", "b"), (5, 2)),
        (["images/a", "images/b", "unlabeled"], ("a", "b"), (5, 2)),
        (["images", "unlabeled"], (), (10, 0)),
        (["trainset/a", "trainset/b", "testset/a", "testset/b"], ("a", "b"), (0, 10)),
    ],
)
def test_folders_around_those_of_the_classes_are_seen_through(
    folders, classes, expected, tmp_path
):
    touch(tmp_path, *many(*(one for one in folders if one != "meta")))
    if "meta" in folders:
        touch(tmp_path, "meta/classes.txt")
    found, _ = find(tmp_path)
    assert found.classes == classes
    assert (len(found.unlabeled), len(found.test)) == expected


def test_why_a_folder_beside_has_no_images_is_said(tmp_path):
    touch(tmp_path, *many("cat"), "dog/1.heic", "dog/2.txt")
    found, words = find(tmp_path)
    assert counts(found) == (0, 5, 0)
    assert "1 with an ending that Pillow does not read (.txt)" in words


def test_classes_that_may_be_none_are_named(tmp_path):
    for names in (["annotations", "Images"], ["train1", "cat"], ["testA", "b"]):
        doubtful = split_names.doubtful(names)
        assert doubtful == [name for name in names if name not in ("cat", "b")]
    assert split_names.doubtful(["bullet train", "test tube", "trains", "cat"]) == []

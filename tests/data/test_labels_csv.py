"""Labels from a table beside the images."""

import shutil
import unicodedata

import PIL.Image
import pytest

from helpers import data
from helpers.data import folder, labels_csv, layout


def write(root, text, name="labels.csv", encoding="utf-8"):
    (root / name).write_text(text, encoding)
    return root / name


@pytest.fixture
def photos(tmp_path):
    """Twelve images that differ, two of them in ``unlabeled/``."""
    root = tmp_path / "photos"
    for number in range(12):
        place = root / "unlabeled" if number > 9 else root / "deep" / "er"
        place.mkdir(parents=True, exist_ok=True)
        image = PIL.Image.new("RGB", (16, 16), (number, 0, 0))
        image.paste((9, 200, 9), (0, 0, 3, 3))
        image.save(place / f"{number}.png")
    return root


def line(number, *words):
    return ",".join([f"deep/er/{number}.png", *words]) + "\n"


def find(path):
    left_out = layout.LeftOut()
    found = folder.find(path, left_out)
    names = [
        [(file.stem, label) for file, label in part]
        for part in (found.train, found.unlabeled, found.test)
    ]
    return found, names, left_out.sentence()


def test_a_table_gives_classes_and_splits(photos):
    splits = ["train", "", "Train", "unlabeled", "test", "TEST", "val", "test"]
    kinds = ["dog", "cat", "dog", "dog", "cat", "dog", "cat", ""]
    rows = [line(n, kinds[n], splits[n]) for n in range(8)]
    write(photos, "File,CLASS,split\n" + "".join(rows) + line(8, "", ""))
    found, (train, unlabeled, test), words = find(photos)
    assert found.classes == ("cat", "dog")
    assert train == [("1", 0), ("0", 1), ("2", 1)]
    assert [name for name, _ in unlabeled] == ["3", "8", "10", "11"]
    assert test == [("4", 0), ("5", 1)]
    for said in (
        "1 in split val, because there is a split test (6.png)",
        "1 test images without a class in labels.csv (deep/er/7.png)",
        "1 not named in labels.csv (deep/er/9.png)",
    ):
        assert said in words
    assert words.count(";") == 2
    dataset = data.load(f"folder:{photos}", image_size=16)
    assert dataset.describe() == (
        "folder:photos at 16 px: 2 classes, 16 px; 3 labelled, 4 unlabelled, 2 test "
        "images (50.0 % each); labels from labels.csv"
    )
    assert dataset.train.images[:, 0, 9, 9].tolist() == [1, 0, 2]


def test_columns_and_files_may_be_called_as_is_usual_elsewhere(photos):
    """A file is found by its name alone, without its ending too, if no other has it."""
    files = ["3", "4.png", "deep/er/5", "er/6.png", "deep/er/7.png"]
    rows = [f"{file},{'ab'[n % 2]}\n" for n, file in enumerate(files)]
    shutil.copy(photos / "deep/er/8.png", photos / "unlabeled" / "8.png")
    write(photos, "Image_ID,label\n" + "".join(rows) + "8,a\n")
    _, (train, _, test), words = find(photos)
    assert sorted(int(name) for name, _ in train + test) == [3, 4, 5, 6, 7]
    assert "1 named in labels.csv by what several images are called (8)" in words


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_spreadsheets_table_without_splits_holds_out_a_fifth(
    photos, separator, encoding
):
    rows = [line(n, "ab"[n % 2]) for n in range(10)]
    text = "".join(["file,class\n", *rows]).replace(",", separator)
    table = write(photos, text.replace("\n", "\r\n"), "mine.csv", encoding)
    found, names, words = find(table)
    assert (found.is_held_out, words) == (True, "")
    assert list(map(len, names)) == [8, 2, 2]
    assert data.name_of(f"folder:{table}") == "folder:photos"


def test_what_a_table_says_and_is_not_so_is_counted(photos):
    text = "file,class\n" + "".join(line(n, "ab"[n % 2]) for n in range(8))
    text += line(0, "a") + line(1, "a") + line(2, "a") + line(2, "b")
    text += "deep/er/none.png,a\n../secret.png,a\n/etc/passwd,a\n,a\n\n,\n"
    text += f"{photos / 'deep' / 'er' / '8.png'},a\ndeep\\er\\9.png,b\n"
    (photos.parent / "secret.png").write_bytes((photos / "deep/er/0.png").read_bytes())
    _, (train, _, test), words = find(write(photos, text))
    assert sorted(int(name) for name, _ in train + test) == [0, 3, 4, 5, 6, 7, 8, 9]
    for said in (
        "1 named in labels.csv, but not there (deep/er/none.png)",
        "2 outside the folder of labels.csv (../secret.png, /etc/passwd)",
        "2 with two rows in labels.csv that differ (deep/er/1.png, deep/er/2.png)",
        "1 more row(s) in labels.csv that say the same (deep/er/0.png)",
        "1 row(s) of labels.csv without a file (line 17)",
    ):
        assert said in words, words


def test_a_table_may_name_a_file_by_any_link_to_it(photos):
    text = "file,class\n" + "".join(line(n, "ab"[n % 2]) for n in range(10))
    _, before, _ = find(write(photos, text))
    (photos / "alias").symlink_to(photos / "deep" / "er")  # comes first, so is entered
    _, names, words = find(photos)
    assert words == ""
    assert sorted(names[0] + names[2]) == sorted(before[0] + before[2])
    words = find(write(photos, text + "alias/1.png,a\n"))[2]
    assert words == "Left out: 1 with two rows in labels.csv that differ (alias/1.png)."


def test_drives_without_numbers_of_files_give_no_label_to_another(photos, monkeypatch):
    """As some cloud drives: every file has the number 0."""
    table = write(photos, "file,class\n" + line(1, "a") + ".link/er/2.png,b\n")
    (photos / ".link").symlink_to(photos / "deep")
    monkeypatch.setattr(labels_csv, "_identity", lambda path: labels_csv.NO_IDENTITY)
    left_out = layout.LeftOut()
    found = labels_csv.find(table, left_out)
    named = [file.stem for file, _ in [*found.train, *found.test]]
    assert named == ["1"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_of_a_spreadsheet_is_read_or_refused(encoding, photos):
    text = "file,class\n" + "".join(
        line(n, "café" if n % 2 else "thé") for n in range(10)
    )
    write(photos, text, encoding=encoding)
    if encoding == "utf-16":
        assert find(photos)[0].classes == ("café", "thé")
    else:
        with pytest.raises(ValueError, match=r"cannot be read as a table .*UTF-8\."):
            find(photos)


def test_accents_are_the_same_however_they_are_written(photos):
    one, other = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    (photos / "deep/er/0.png").rename(photos / f"{one}.png")
    text = f"file,class\n{other}.png,caf{other}\n" + line(1, f"caf{one}")
    text += line(2, "thé") + line(3, "thé")
    found, names, _ = find(write(photos, text))
    assert found.classes == ("café", "thé")
    assert len(names[0] + names[2]) == 4


def test_other_labels_are_other_data_and_a_moved_folder_is_not(photos, tmp_path):
    def digest(root, kinds):
        text = "file,class\n" + "".join(line(n, k) for n, k in enumerate(kinds))
        write(root, text)
        return data.load(f"folder:{root}", image_size=16).files

    first = digest(photos, "aaaaabbbbb")
    assert digest(photos, "aaaabbbbbb") != first
    moved = shutil.copytree(photos, tmp_path / "moved" / "photos")
    assert digest(moved, "aaaaabbbbb") == first
    rows = [line(n, "aaaaabbbbb"[n]) for n in reversed(range(10))]
    write(moved, "file,class\n" + "".join(rows))
    assert data.load(f"folder:{moved}", image_size=16).files == first


def test_a_zip_may_hold_a_table(photos, tmp_path):
    write(photos, "file,class\n" + "".join(line(n, "ab"[n % 2]) for n in range(10)))
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "photos")
    dataset = data.load(f"folder:{tmp_path / 'packed.zip'}", root=tmp_path / "data")
    assert (dataset.classes, len(dataset.train)) == (("a", "b"), 8)


def test_a_table_about_something_else_is_said_and_not_used(photos):
    table = write(photos, "name,price\nx,3\n")
    _, names, words = find(photos)
    assert list(map(len, names)) == [0, 12, 0]
    assert words == (
        "Left out: 1 not used, because it lacks the columns file and class (labels.csv)"
        "."
    )
    with pytest.raises(ValueError, match=r"needs the columns file and class .*'name'"):
        find(table)
    with pytest.raises(ValueError, match=r"it has 'breed', 'id'\."):
        find(write(photos, "id,breed\n1,pug\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"needs the columns file and class .* it has none"),
        ("file,class\n", r"names no image to learn from\. Left out: 10 not named in"),
        ("file,class,split\n" + line(1, "a", "tset"), r"Line 2 of .* has split 'tset'"),
        (
            "file,class,split\n" + line(1, "a") + line(2, "b", "test"),
            r"has test images of 'b', but none to learn from: name some",
        ),
    ],
)
def test_a_table_that_cannot_be_is_one_sentence(text, message, photos):
    shutil.rmtree(photos / "unlabeled")
    table = write(photos, text)
    with pytest.raises(ValueError, match=message) as raised:
        data.check(f"folder:{table}")
    assert "\n" not in str(raised.value)
    table.write_bytes(b"file,class\n\xff\xfe\x00,a\n")
    with pytest.raises(ValueError, match=r"labels\.csv' cannot be read as a table"):
        labels_csv.find(table, layout.LeftOut())


@pytest.mark.parametrize("column", ["set", "Usage", "fold"])
def test_a_column_that_holds_splits_alone_is_the_split(column, photos):
    splits = ["train", "train", "", "val", "Test"]
    rows = [line(n, "ab"[n % 2], "1", splits[n]) for n in range(5)]
    write(photos, f"file,class,size,{column}\n" + "".join(rows))
    _, (train, _, test), _ = find(photos)
    assert [name for name, _ in train] == ["0", "2", "1"]
    assert [name for name, _ in test] == ["4"]


def test_without_such_a_column_the_folders_say_the_split(photos, tmp_path):
    for number in range(10):
        place = tmp_path / "data" / ("test" if number > 6 else "train")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / f"deep/er/{number}.png", place)
    names = [
        f"{'test' if n > 6 else 'train'}/{n}.png,{'ab'[n % 2]}\n" for n in range(10)
    ]
    write(tmp_path / "data", "file,class\n" + "".join(names))
    found, (train, _, test), _ = find(tmp_path / "data")
    assert not found.is_held_out
    assert sorted(name for name, _ in test) == ["7", "8", "9"]
    assert len(train) == 7


def test_of_images_with_the_same_name_that_of_the_tables_folder_is_meant(
    tmp_path, photos
):
    for place in ("train", "test"):
        (tmp_path / "data" / place).mkdir(parents=True)
        for number in range(4):
            shutil.copy(photos / f"deep/er/{number}.png", tmp_path / "data" / place)
    rows = "id,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(4))
    table = write(tmp_path / "data", rows, "train.csv")
    found, (train, _, test), _ = find(table)
    assert {file.parent.name for file, _ in [*found.train, *found.test]} == {"train"}
    assert len(train) + len(test) == 4
    table = write(tmp_path / "data", rows, "all.csv")
    with pytest.raises(
        ValueError, match=r"4 named in all\.csv by what several images are"
    ):
        find(table)


def test_rows_that_name_folders_are_counted(photos):
    write(photos, "file,class\ndeep/er,a\n" + line(1, "a") + line(2, "a"))
    assert "1 row(s) of labels.csv that name a folder (deep/er)" in find(photos)[2]


@pytest.mark.parametrize("head", ["sep=;\n", "\n \n", "sep=;\n\n"])
def test_what_spreadsheets_put_before_the_columns_is_passed_over(head, photos):
    rows = [f"deep/er/{n}.png;{'ab'[n % 2]}\n" for n in range(6)]
    write(photos, head + "file;class\n" + "".join(rows))
    assert find(photos)[0].classes == ("a", "b")
    write(photos, head + "file;class;split\ndeep/er/0.png;a;x\n")
    with pytest.raises(ValueError, match=rf"Line {head.count(chr(10)) + 2} of"):
        find(photos)


def test_tables_in_the_folders_of_splits_are_named(photos, tmp_path):
    root = tmp_path / "parts"
    for split in ("train", "test"):
        shutil.copytree(photos / "deep" / "er", root / split)
        write(root / split, "file,class\n0.png,a\n1.png,b\n")
    found, _, words = find(root)
    assert (len(found.unlabeled), found.classes) == (10, ())
    for split in ("train", "test"):
        reason = f"1 not read: one table beside {split}/ has to name all images"
        assert f"{reason} ({split}/labels.csv)" in words


def test_a_table_of_the_names_of_the_classes_is_none_of_the_images(photos, tmp_path):
    for number in range(6):
        place = tmp_path / "data" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / f"deep/er/{number}.png", place / f"x{number}.png")
    table = write(tmp_path / "data", "id,label\n7,cat\n8,dog\n")
    found, _, words = find(tmp_path / "data")
    assert found.classes == ("0", "1")
    assert words.endswith(
        "1 not used, because it names none of the images (labels.csv)."
    )
    with pytest.raises(ValueError, match="names no image to learn from"):
        find(table)

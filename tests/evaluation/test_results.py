"""Tables of records: what they show, compare and escape, and where records are kept."""

import json
import re
import warnings

import pytest

from helpers.evaluation import records, results

ABOUT = {
    "backbone": "vgg11",
    "epochs_done": 12,
    "images": 50_400,
    "batch_size": 64,
    "recipe": "hour",
}


def record(*, top1=(60.0, 62.0, 67.0), top5=(95.0, 96.0, 98.0), **changes):
    given = {
        "method": "PIRL",
        "protocol": "linear probe",
        "data": "demo",
        "labels": 200,
        "about": ABOUT,
    }
    shaped = records.conditions(**given | {"seeds": len(top1)} | changes)
    return records.finished(shaped, top1=top1, top5=top5, minutes=12.4)


def rows(text):
    """Title and cells of a Markdown table: one dict per row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *body = (
        [cell.strip() for cell in line[1:-1].split(" | ")] for line in lines
    )
    return [dict(zip(head, cells, strict=True)) for cells in body]


def trained(epochs, protocol="fine-tuning", **changes):
    """A record of all layers trained together, with its settings."""
    settings = {"epochs": epochs, "learning_rate": 1e-3, "view": {"size": 48}}
    settings |= changes.pop("settings", {})
    side = settings["view"]["size"]
    return record(protocol=protocol, settings=settings, image_size=side, **changes)


def test_a_setting_that_is_called_as_a_column_is_leaves_the_column_alone():
    named = ({"top-1 (%)": f"{top1}", "method": "Mine"} for top1 in (99, 98))
    found = [trained(2), *(trained(2, settings=one) for one in named)]
    for row, top1 in zip(rows(results.markdown(found)), ("–", "99", "98"), strict=True):
        assert row["method"] == "PIRL"
        assert "63.0" in row["top-1 (%)"]
        assert row["setting top-1 (%)"] == top1


def test_records_are_saved_collected_and_replaced(tmp_path):
    first = record()
    results.save(first, tmp_path)
    assert results.collect(tmp_path) == [first]
    results.save(record(top1=[50.0]), tmp_path)
    results.save(record(top1=[70.0]), tmp_path)  # the same, measured again
    results.save(record(method="BYOL"), tmp_path)
    results.save(record(protocol="k-NN", top1=[99.0]), tmp_path)
    results.save(record(data="cifar10"), tmp_path)
    results.save(record(top1=[65.0] * 10, folds=10, labels=40), tmp_path)
    found = [
        (r["data"], r["protocol"], r["method"], r["labels"], r["top1_mean"])
        for r in results.collect(tmp_path)
    ]
    assert found == [
        ("cifar10", "linear probe", "PIRL", 200, 63.0),
        ("demo", "k-NN", "PIRL", 200, 99.0),
        ("demo", "linear probe", "PIRL", 40, 65.0),
        ("demo", "linear probe", "BYOL", 200, 63.0),
        ("demo", "linear probe", "PIRL", 200, 63.0),
        ("demo", "linear probe", "PIRL", 200, 70.0),
    ]


def test_ones_own_records_and_those_of_the_project_are_told_apart(
    tmp_path, monkeypatch
):
    own, shipped = tmp_path / "there", tmp_path / "shipped"
    monkeypatch.setenv("STL_RESULTS", str(own))
    monkeypatch.setattr(results, "SHIPPED", shipped)
    assert results.collect() == []
    results.save(record(method="BYOL"))
    results.save(record(), shipped)
    (file,) = own.iterdir()
    assert json.loads(file.read_text())["method"] == "BYOL"
    found = {one["method"]: one.get("shipped") for one in results.collect()}
    assert found == {"BYOL": None, "PIRL": True}
    shown = rows(results.markdown(results.collect()))
    assert [row["measured by"] for row in shown] == ["you", "the project"]
    assert [one["method"] for one in results.collect(shipped)] == ["PIRL"]
    assert "measured by" not in results.markdown(results.collect(shipped))
    monkeypatch.setenv("STL_RESULTS", str(shipped))  # a maintainer's way: no mark
    assert "shipped" not in results.collect()[0]


def test_without_an_answer_records_are_kept_apart_and_not_in_git(monkeypatch):
    monkeypatch.delenv("STL_RESULTS")
    own = results.files.results_folder()
    assert own.resolve() != results.SHIPPED
    assert f"/{own.parts[0]}/" in (results.SHIPPED.parent / ".gitignore").read_text()


def test_records_are_copied_to_the_mirror_and_read_from_it(tmp_path):
    drive = tmp_path / "drive"
    drive.mkdir()
    results.save(record(), tmp_path / "here", drive)
    results.save(record(method="BYOL"), tmp_path / "another machine", drive)
    found = results.collect(tmp_path / "here", drive)
    assert sorted(one["method"] for one in found) == ["BYOL", "PIRL"]


def test_a_mirror_that_is_gone_is_not_made_again(tmp_path):
    with pytest.warns(UserWarning, match="No copy was made: the mirror .* not there"):
        results.save(record(), tmp_path / "here", tmp_path / "gone")
    assert len(results.collect(tmp_path / "here")) == 1
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("name", records.REQUIRED)
def test_a_record_that_lacks_something_is_refused(name, tmp_path):
    incomplete = record()
    incomplete[name] = None
    with pytest.raises(ValueError, match=rf"It lacks {name}\. Nothing was written"):
        results.save(incomplete, tmp_path)
    del incomplete[name]
    with pytest.raises(ValueError, match=name):
        results.save(incomplete, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_table_shows_the_best_of_each_protocol_in_bold():
    found = [
        record(method="random", top1=[40.0], top5=[None]),
        record(),
        record(method="BYOL", top1=[62.9]),
        record(protocol="k-NN", top1=[30.0]),
    ]
    shown = rows(results.markdown(found))
    assert list(shown[0])[:3] == ["method", "protocol", "top-1 (%)"]
    accuracies = [row["top-1 (%)"] for row in shown]
    # One repetition has no deviation; where nothing competes, nothing is best.
    assert accuracies == ["40.0", "**63.0 ± 3.6**", "62.9", "30.0"]
    assert [row["top-5 (%)"] for row in shown][:2] == ["–", "96.3"]
    assert [row["n"] for row in shown] == ["1", "3", "1", "1"]
    page = results.table(found).to_html()
    assert page.count("<tr>") == 5
    bold = re.findall(r"#T_\w+_(row\d+_col\d+) {\s*font-weight: bold", page)
    assert bold == ["row1_col2"]


def test_what_all_rows_share_is_in_the_caption():
    found = [record(), record(method="BYOL", top1=[62.9])]
    text = results.markdown(found)
    assert "data" not in rows(text)[0]
    caption = text.splitlines()[-1]
    for shared in ("data demo", "labels 200", "backbone vgg11", "images seen 50,400"):
        assert shared in caption
    assert "data demo" in results.table(found).to_html().partition("<tr>")[0]
    other = results.markdown([*found, record(data="cifar10")])
    assert "data demo" not in other
    assert [row["data"] for row in rows(other)] == ["demo", "demo", "cifar10"]


def test_what_only_some_rows_have_is_not_said_of_all():
    found = [record(), record(method="random", about={"backbone": "vgg11"})]
    caption = results.markdown(found).splitlines()[-1]
    of_all, _, of_some = caption.partition("Where it applies:")
    assert "data demo" in of_all
    assert "images seen 50,400" in of_some
    assert "images seen" not in of_all


def test_epochs_that_another_project_does_not_tell_are_not_none():
    foreign = {"backbone": "vgg11", "converted": "The 122 tensors are a resnet18."}
    found = [record(about=foreign), record(about={"backbone": "vgg11"}), record()]
    shown = rows(results.markdown(found))
    assert [row["pre-training epochs"] for row in shown] == ["?", "0", "12"]


def test_folds_and_all_labels_each_have_a_best():
    by_fold = {"folds": 10, "labels": 1_000, "over": "official folds"}
    found = [
        record(labels=5_000, top1=[80.0]),
        record(labels=5_000, top1=[81.0], method="BYOL"),
        record(top1=[70.0, 72.0], **by_fold),
        record(top1=[70.0, 70.0], method="BYOL", **by_fold),
        record(labels=1_000, top1=[75.0]),  # of one choice, which no other has
    ]
    shown = rows(results.markdown(found))
    best = ["**" in row["top-1 (%)"] for row in shown]
    assert best == [False, True, True, False, False]
    assert [row["labels"] for row in shown][1:3] == ["5,000", "10 folds × 1,000"]


def test_a_short_training_is_not_compared_with_a_long_one_in_silence():
    short, long = trained(1, "baseline", top1=[30.0]), trained(30, top1=[60.0])
    text = results.markdown([short, long])
    assert [row["supervised epochs"] for row in rows(text)] == ["1", "30"]
    assert "**" not in text
    fair = results.markdown([trained(30, "baseline", top1=[50.0]), long])
    assert "supervised epochs 30" in fair.splitlines()[-1]
    assert [row["top-1 (%)"] for row in rows(fair)] == ["50.0", "**60.0**"]


@pytest.mark.parametrize(
    ("change", "title", "values"),
    [
        ({"settings": {"learning_rate": 1e-2}}, "learning rate", ["0.001", "0.01"]),
        ({"settings": {"view": {"size": 64}}}, "side (px)", ["48", "64"]),
        ({"labels": 90}, "labels", ["200", "90"]),
        ({"content": "ab" * 8}, "images", ["cd" * 8, "ab" * 8]),
        ({"fit": "squash"}, "cut by", ["crop", "squash"]),
        ({"stored_size": 96}, "kept at (px)", ["48", "96"]),
        ({"seed_numbers": [3, 4, 5]}, "seeds", ["0, 1, 2", "3, 4, 5"]),
        ({"about": {**ABOUT, "seed": 5}}, "pre-training seed", ["4", "5"]),
        ({"weights": "ab" * 8}, "weights", ["cd" * 8, "ab" * 8]),
        ({"over": "official folds"}, "repetitions over", ["seeds of the", "official"]),
    ],
)
def test_rows_that_could_be_taken_for_the_same_show_what_differs(change, title, values):
    usual = {"content": "cd" * 8, "weights": "cd" * 8, "about": {**ABOUT, "seed": 4}}
    usual |= {"fit": "crop", "stored_size": 48, "seed_numbers": [0, 1, 2]}
    found = [trained(9, **usual), trained(9, **usual | change)]
    shown = rows(results.markdown(found))
    for row, value in zip(shown, values, strict=True):
        assert row[title].startswith(value)
    assert results.frame(found)[title].nunique() == 2


def test_the_settings_of_unlike_trainings_are_not_held_against_each_other():
    """A head is trained otherwise than a whole network: no column for it."""
    head = record(protocol="MLP head", settings={"epochs": 100, "weight_decay": 0.1})
    text = results.markdown([head, trained(30)])
    assert "weight decay" not in text
    assert [row["supervised epochs"] for row in rows(text)] == ["100", "30"]


def test_more_settings_than_fit_are_counted():
    many = {f"setting_{number}": 1 for number in range(20)}
    others = {f"setting_{number}": 2 for number in range(20)}
    found = [record(settings=settings) for settings in (many, others)]
    text = results.markdown(found)
    assert len(rows(text)[0]) < 14
    assert "Rows differ in 14 more settings." in text
    names = [name for name in rows(text)[0] if name.startswith("setting ")]
    assert names == [f"setting {number}" for number in range(6)]  # as declared


def test_a_setting_that_is_none_differs_from_any_other():
    found = [record(settings={"cut": None}), record(settings={"cut": 3})]
    assert [row["cut"] for row in rows(results.markdown(found))] == ["none", "3"]


HOSTILE = "<img src=x onerror=alert(1)>|\n<!-- /results -->\x1b[2J[a](javascript:b)"


@pytest.mark.parametrize("field", ["method", "data", "backbone", "hardware"])
def test_what_a_record_says_is_never_markup(field):
    odd = record() | {field: HOSTILE}
    odd["pretraining"] = {"note": "</td><script>", "odd<b>": 1}
    plain = record() | {"pretraining": {"note": "x", "odd<b>": 2}}
    page = results.table([odd, plain]).to_html()
    text = results.markdown([odd, plain])
    for shown in (page, text):
        for markup in ("<img", "<script", "<b>", "<!--", "\x1b"):
            assert markup not in shown
    assert len(rows(text)) == 2
    assert "[a](" not in text.replace("\\[", "").replace("\\]", "")
    pivot = results.markdown_pivot([whole(HOSTILE, 3, "k-NN", 5.0, 6.0)])
    assert "<img" not in pivot
    assert "<!--" not in pivot


BROKEN = {
    "no json": "{",
    "list": "[1]",
    "number": "3",
    "text": '"x"',
    "deep": "[" * 100_000,
    "bytes": b"\xff\xfe\x00",
    "large": {"note": "x" * (2 << 20)},
    "field": {"labels": "many"},
    "flag": {"seeds": True},
    "none": {"seeds": 0},
    "nan": {"top1_mean": float("nan")},
    "infinite": {"minutes": float("inf")},
    "huge": {"images_seen": 10**30},
    "long": {"method": "x" * 5_000},
    "type": {"hardware": ["x"]},
    "settings": {"settings": [1]},
    "pretraining": {"pretraining": "x"},
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_a_sentence_and_the_others_are_shown(kind, tmp_path):
    results.save(record(), tmp_path)
    broken = BROKEN[kind]
    if isinstance(broken, dict):
        broken = json.dumps(record() | broken)
    text = broken if isinstance(broken, bytes) else broken.encode()
    (tmp_path / "broken.json").write_bytes(text)
    with pytest.warns(UserWarning, match="broken.json is not a record") as warned:
        found = results.collect(tmp_path)
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)
    assert [one["method"] for one in found] == ["PIRL"]
    assert len(rows(results.markdown(found))) == 1


def test_records_of_earlier_versions_are_still_shown(tmp_path):
    old = record()
    for key in ("pretraining", "over", "recipe", "folds", "top5_mean"):
        del old[key]
    (tmp_path / "demo-pirl-vgg11-12ep-linear-probe.json").write_text(json.dumps(old))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = results.collect(tmp_path)
    assert found == old
    text = results.markdown([found, trained(30, content="x"), record(method="BYOL")])
    assert [row["method"] for row in rows(text) if "**" in row["top-1 (%)"]] == [
        "PIRL",
        "BYOL",
    ]


def whole(method, epochs, protocol, *top1, **changes):
    about = ABOUT | {"epochs_done": epochs, "backbone": "resnet18"}
    given = {"method": method, "protocol": protocol, "top1": top1, "about": about}
    return record(over=results.WHOLE_PIPELINES, **given | changes)


def test_the_pivot_has_a_row_per_start_and_a_column_per_protocol(tmp_path):
    for one in [
        whole("PIRL", 9, "k-NN", 32.0, 33.0),
        whole("PIRL", 9, "fine-tuning", 49.0, 50.0),
        whole("PIRL", 20, "k-NN", 40.0, 40.0),
        whole("PIRL", 9, "fine-tuning", 60.0, 61.0, settings={"epochs": 120}),
        whole("PIRL", 9, "fine-tuning", 55.0, 56.0, settings={"epochs": 30}),
        whole("random", 0, "baseline", 38.0, 39.0),
        whole("random", 0, "k-NN", 15.0, 16.0),
        whole("BYOL", 8, "k-NN", 99.0, 99.0, data="cifar10"),
        whole("BYOL", 8, "k-NN", 99.0, about=ABOUT),  # another backbone
        record(method="BYOL", protocol="k-NN"),  # pre-trained once
    ]:
        results.save(one, tmp_path)
    text = results.markdown_pivot(results.collect(tmp_path))
    *table, empty, caption = text.splitlines()
    assert table == [
        "| pre-training | epochs | k-NN | linear probe | MLP head | all layers"
        " | all layers, 30 epochs | all layers, 120 epochs |",
        "|---|---|---|---|---|---|---|---|",
        "| random weights | 0 | 15.5 ± 0.7 | – | – | 38.5 ± 0.7 | – | – |",
        "| PIRL | 9 | 32.5 ± 0.7 | – | – | 49.5 ± 0.7 | 55.5 ± 0.7 | 60.5 ± 0.7 |",
        "| PIRL | 20 | 40.0 ± 0.0 | – | – | – | – | – |",
    ]
    assert empty == ""
    assert "ResNet-18, 200 labels: mean ± standard deviation over 2 whole" in caption


@pytest.mark.parametrize(
    "other",
    [
        whole("PIRL", 9, "k-NN", 32.0, 33.0, 34.0),  # the same cell
        whole("BYOL", 9, "k-NN", 32.0, 33.0, labels=400),
        whole("BYOL", 9, "k-NN", 32.0, 33.0, settings={"epochs": 1}),
    ],
)
def test_the_pivot_mixes_no_conditions(other):
    with pytest.raises(ValueError, match="all of the same labels and settings, but tw"):
        results.markdown_pivot([whole("PIRL", 9, "k-NN", 32.0, 33.0), other])


def test_a_table_is_written_between_its_marks(tmp_path):
    file = tmp_path / "page.md"
    file.write_text("a\n<!-- results -->\nold\n<!-- /results -->\nb\n")
    for _ in range(2):
        results.write_table(file, "results", "new")
    text = "a\n<!-- results -->\n\nnew\n\n<!-- /results -->\nb\n"
    assert file.read_text() == text
    with pytest.raises(ValueError, match="no marks for speed: add <!-- speed -->"):
        results.write_table(file, "speed", "new")
    assert file.read_text() == text


def test_no_records_make_an_empty_table():
    assert len(results.markdown([]).splitlines()) == 2
    assert len(results.frame([])) == 0
    assert results.table([]).to_html()


@pytest.mark.parametrize("field", ["data", "hardware", "backbone"])
def test_what_all_rows_share_is_never_markup(field):
    both = [one | {field: HOSTILE} for one in (record(), record(method="BYOL"))]
    page, text = results.table(both).to_html(), results.markdown(both)
    assert "&lt;img" in page.partition("<caption>")[2]
    pivot = results.markdown_pivot([whole("PIRL", 3, "k-NN", 5.0) | {field: HOSTILE}])
    for shown in (page, text, pivot):
        for markup in ("<img", "<!--", "\x1b"):
            assert markup not in shown

"""Records of finished runs, and the tables made of them."""

import json
import statistics

import pytest

from helpers.evaluation import results

ABOUT = {
    "backbone": "vgg11",
    "epochs_done": 12,
    "images": 50_400,
    "batch_size": 64,
    "recipe": "hour",
}


def record(**changes):
    given = {
        "method": "PIRL",
        "protocol": "linear probe",
        "data": "demo",
        "labels": 200,
        "top1": [60.0, 62.0, 67.0],
        "top5": [95.0, 96.0, 98.0],
        "minutes": 12.4,
        "about": ABOUT,
    }
    return results.record(**given | changes)


def test_a_record_has_mean_and_deviation_over_the_repetitions():
    made = record()
    assert made["top1_mean"] == pytest.approx(63.0)
    assert made["top1_std"] == pytest.approx(statistics.stdev([60, 62, 67]))
    assert made["top5_mean"] == pytest.approx(96 + 1 / 3)
    assert made["seeds"] == 3
    assert made["pretraining_epochs"] == 12
    assert made["images_seen"] == 50_400
    assert made["batch_size"] == 64
    assert made["hardware"]
    assert record(top1=[50.0])["top1_std"] == 0
    assert record(top5=[None, None])["top5_mean"] is None
    assert record(note="kept")["note"] == "kept"
    assert made["backbone"] == "vgg11"
    assert record(about={})["backbone"] == "resnet18"
    assert record(about={"stem": "imagenet"})["backbone"] == "resnet18"
    assert record(about={"stem": "pool"})["backbone"] == "resnet18, pool stem"


def test_records_are_saved_collected_and_replaced(tmp_path):
    first = record()
    results.save(first, tmp_path)
    assert results.collect(tmp_path) == [first]
    results.save(record(top1=[70.0]), tmp_path)
    results.save(record(method="BYOL"), tmp_path)
    results.save(record(protocol="k-NN", top1=[99.0]), tmp_path)
    results.save(record(data="cifar10"), tmp_path)
    results.save(record(top1=[65.0] * 10, folds=10, labels=40), tmp_path)
    results.save(record(about=ABOUT | {"backbone": "alexnet"}), tmp_path)
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


def test_the_folder_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("STL_RESULTS", str(tmp_path / "there"))
    assert results.collect() == []
    results.save(record())
    (file,) = (tmp_path / "there").iterdir()
    assert json.loads(file.read_text())["method"] == "PIRL"
    assert len(results.collect()) == 1


@pytest.mark.parametrize("name", results.REQUIRED)
def test_a_record_that_lacks_something_is_refused(name, tmp_path):
    incomplete = record()
    incomplete[name] = None
    with pytest.raises(ValueError, match=f"A record needs {name}: nothing was written"):
        results.save(incomplete, tmp_path)
    del incomplete[name]
    with pytest.raises(ValueError, match=name):
        results.save(incomplete, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_table_shows_the_best_of_each_protocol_in_bold():
    records = [
        record(method="random", top1=[40.0], top5=[None]),
        record(),
        record(method="BYOL", top1=[62.9]),
        record(protocol="k-NN", top1=[30.0]),
    ]
    lines = results.markdown(records).splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("| method | backbone | protocol | data |")
    assert {line.count("|") for line in lines} == {14}
    assert ["**" in line for line in lines[2:]] == [False, True, False, True]
    assert "**63.0 ± 3.6**" in lines[3]
    assert "| 50,400 |" in lines[3]
    assert "| – |" in lines[2]
    assert "| 62.9 |" in lines[4]  # one repetition has no deviation
    page = results.table(records).to_html()
    assert page.count("<tr>") == 5
    assert "63.0 ± 3.6" in page
    bold = page.split("<style")[1].split("</style>")[0]
    assert "row1_col0" in bold
    assert "row0_col0" not in bold
    assert "row2_col0" not in bold


def test_folds_and_all_labels_each_have_a_best():
    by_fold = {"folds": 10, "labels": 1_000, "over": "official folds"}
    records = [
        record(labels=5_000, top1=[80.0]),
        record(labels=5_000, top1=[81.0], method="BYOL"),
        record(top1=[70.0, 72.0], **by_fold),
    ]
    lines = results.markdown(records).splitlines()[2:]
    assert ["**" in line for line in lines] == [False, True, True]
    assert "| 10 folds × 1,000 |" in lines[2]
    assert "| 5,000 |" in lines[0]


def whole(method, epochs, protocol, *top1, **changes):
    about = ABOUT | {"epochs_done": epochs, "backbone": "resnet18"}
    given = {"method": method, "protocol": protocol, "top1": top1, "about": about}
    return record(over=results.WHOLE_PIPELINES, **given | changes)


def test_the_pivot_has_a_row_per_start_and_a_column_per_protocol(tmp_path):
    for one in [
        whole("PIRL", 9, "k-NN", 32.0, 33.0),
        whole("PIRL", 9, "fine-tuning", 49.0, 50.0),
        whole("PIRL", 20, "k-NN", 40.0, 40.0),
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
        "| pre-training | epochs | k-NN | linear probe | MLP head | all layers |",
        "|---|---|---|---|---|---|",
        "| random weights | 0 | 15.5 ± 0.7 | – | – | 38.5 ± 0.7 |",
        "| PIRL | 9 | 32.5 ± 0.7 | – | – | 49.5 ± 0.7 |",
        "| PIRL | 20 | 40.0 ± 0.0 | – | – | – |",
    ]
    assert empty == ""
    assert "ResNet-18, 200 labels: mean ± standard deviation over 2 whole" in caption


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

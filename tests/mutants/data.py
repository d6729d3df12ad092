"""Data sets whose pixels, labels, splits or names are others."""

DATA = "data/test_data.py"
DATASET = "data/test_dataset.py"
STREAM = "data/test_streaming.py"
DECODE = "data/test_decoding.py"
LAYOUT = "data/test_layout.py"

FAULTS = {
    "data/__init__.py": {
        f"{DATA}::test_fewer_unlabeled_images_and_labels_can_be_asked_for": [
            ("[: dataset.train_count + unlabeled]", "[:unlabeled]"),
        ],
    },
    "data/sources.py": {
        f"{DATA}::test_stl10_has_the_pixels_torchvision_reads": [
            ("astype(np.int64) - 1", "astype(np.int64)"),
            (".transpose(0, 1, 3, 2)", ""),
            ("        start += count\n", "        start = 0\n"),
        ],
        f"{DATA}::test_stl10_has_its_official_folds": [
            (
                "torch.tensor([int(n) for n in line.split()])",
                "torch.tensor([int(n) - 1 for n in line.split()])",
            ),
            ("for line in folds)", "for line in folds[1:])"),
        ],
        f"{DATA}::test_cifar_is_read_from_its_pickles": [
            (".permute(0, 3, 1, 2).contiguous()", ".permute(0, 3, 2, 1).contiguous()"),
            ("for is_train in (True, False):", "for is_train in (True, True):"),
        ],
        f"{DATA}::test_the_demo_is_drawn_once_and_kept": [
            ('labels[: counts["train"]] = torch.from_numpy(train[1])', "labels[:] = 0"),
            ('file = root / f"demo-{demo.VERSION}"', 'file = root / "demo"'),
        ],
        f"{DATA}::test_drawings_that_are_not_whole_are_drawn_again": [
            ('if str(stored["digest"]) == _digest(*arrays):', "if True:"),
            ("    for array in arrays:\n", "    for array in arrays[:1]:\n"),
        ],
        f"{DATA}::test_imagenette_is_what_torchvision_has_unpacked": [
            ("if len(items) != IMAGENETTE[split]:", "if False:"),
            ('words, checked, "squash")', 'words, checked, "crop")'),
            (
                "        test=parts[1],\n        fit",
                "        test=parts[0],\n        fit",
            ),
        ],
    },
    "data/dataset.py": {
        f"{DATASET}::test_limiting_labels_moves_the_rest_to_unlabeled": [
            ("    reordered.labels[len(chosen) :] = -1\n", ""),
            ("        folds=(),\n", ""),
            ("members[:count]", "members[: count + 1]"),
        ],
        f"{DATASET}::test_limiting_labels_depends_on_the_seed_alone_and_changes_nothing": [  # noqa: E501
            (
                "    generator = torch.Generator().manual_seed(seed)\n    shuffled = "
                "torch.randperm(len(classes)",
                "    generator = torch.Generator().manual_seed(0)\n    shuffled = "
                "torch.randperm(len(classes)",
            ),
        ],
        f"{DATASET}::test_labels_are_limited_by_number_or_share_alike_in_every_class": [
            (
                "max(1, round(amount / 100 * len(members)))",
                "round(amount / 100 * len(members))",
            ),
            ('f", seed {seed}" if seed else ""', '""'),
        ],
        f"{DATASET}::test_a_stratified_split_takes_its_share_of_every_class": [
            (
                "second.append(members[:held])\n        first.append(members[held:])",
                "second.append(members[:held])\n        first.append(members)",
            ),
            ("round(share * count)), count - 1)", "round(share * count)), count)"),
            (
                "    generator = torch.Generator().manual_seed(seed)\n    shuffled = "
                "torch.randperm(len(labels), generator=generator)\n    first",
                "    shuffled = torch.arange(len(labels))\n    first",
            ),
        ],
        f"{DATASET}::test_train_and_unlabeled_are_windows_into_one_tensor": [
            ("return self.pretraining[: self.train_count]", "return self.pretraining"),
            ("return self.pretraining[self.train_count :]", "return self.pretraining"),
        ],
        f"{DATASET}::test_a_sample_shows_every_class_in_turn": [
            (
                "(turns * (int(labels.max()) + 1) + labels).argsort()",
                "labels.argsort()",
            ),
        ],
    },
    "data/streaming.py": {
        f"{STREAM}::test_nothing_stands_in_for_an_image_with_a_label": [
            ("1 if self.is_labelled[first] else", "0 if False else"),
            ("self.numbers < labelled", "self.numbers < 0"),
        ],
        f"{STREAM}::test_the_next_image_stands_in_for_a_broken_one": [
            ("range(first, first + tries)", "range(first, first + 1)"),
        ],
        f"{STREAM}::test_what_stands_in_does_not_depend_on_the_selection": [
            (
                "chosen.numbers = self.numbers[where]",
                "chosen.paths = self.paths[self.numbers[where]]\n"
                "        chosen.numbers = np.arange(len(chosen.paths))",
            ),
        ],
    },
    "data/decoding.py": {
        f"{DECODE}::test_the_middle_of_a_long_image_is_kept": [
            (
                "return PIL.ImageOps.fit(image, square, smooth)",
                "return image.resize(square, smooth)",
            ),
            (
                "return PIL.ImageOps.fit(image, square, smooth)",
                "return PIL.ImageOps.fit(image, square, smooth, centering=(0, 0))",
            ),
        ],
        f"{DECODE}::test_a_long_image_can_be_squashed_or_padded_instead": [
            ('    if fit == "pad":\n', "    if False:\n"),
        ],
        f"{DECODE}::test_a_photograph_is_turned_upright": [
            ("upright = _turned(image, orientation)", "upright = image"),
        ],
        f"{DECODE}::test_deep_images_are_mapped_by_their_own_range": [
            (
                'np.percentile(values, (0.1, 99.9), method="nearest")',
                "(0.0, values.max())",
            ),
        ],
        f"{DECODE}::test_a_broken_pixel_takes_no_contrast_from_a_deep_image": [
            (
                'np.percentile(values, (0.1, 99.9), method="nearest")',
                "(values.min(), values.max())",
            ),
            (" & (abs(values) < ABSURD)", ""),
            ("known[known != float(nodata)]", "known"),
        ],
        f"{DECODE}::test_what_is_transparent_is_white": [
            ("    if alpha:\n", "    if False:\n"),
        ],
        f"{DECODE}::test_a_fourth_channel_is_noticed_where_it_says_something": [
            ("return low < high", "return True"),
        ],
    },
    "data/layout.py": {
        f"{LAYOUT}::test_another_image_hardly_moves_others_between_train_and_test": [
            (
                "relative_name(file, root).encode(",
                'f"{relative_name(file, root)} {len(files)}".encode(',
            ),
        ],
        f"{LAYOUT}::test_a_test_folder_without_classes_does_not_hide_val": [
            ('splits.pop("test", [])', 'splits["test"]'),
        ],
        f"{LAYOUT}::test_folders_around_those_of_the_classes_are_seen_through": [
            ("others, place = _inside(others, root, left_out)", "place = root"),
        ],
    },
    "data/split_names.py": {
        f"{LAYOUT}::test_the_name_of_a_class_is_no_split": [
            (" or could_be_classes or", " or"),
            ('bool({"test", "val"} & {*found.values()})', "len({*found.values()}) > 1"),
        ],
    },
    "data/folder.py": {
        "data/test_folder.py::test_a_run_is_the_same_wherever_its_images_are_kept": [
            ("kept = good | (labels < 0)", "kept = good"),
            (" % len(readable)", ".clamp(max=len(readable) - 1)"),
        ],
        "data/test_folder.py::test_files_are_told_apart_by_size_start_middle_and_end": [
            ("(0, (size - PIECE) // 2, size - PIECE)", "(0, 0, 0)"),
            ('return f"{size} {hashlib', 'return f"{hashlib'),
        ],
    },
    "data/remarks.py": {
        "data/test_folder.py": [
            (
                "start = len(found.train) + len(found.unlabeled)",
                "start = len(found.train)",
            ),
        ],
        "data/test_folder.py::test_images_that_are_all_enlarged_are_said": [
            ("0 < checked.side < image_size", "0 < image_size < checked.side"),
            ("max(self.side, decoded.side)", "min(self.side, decoded.side)"),
        ],
    },
}

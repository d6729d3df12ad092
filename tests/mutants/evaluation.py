"""Evaluations that see, choose or record something else."""

PROBES = "evaluation/test_probes.py"
PROTOCOLS = "evaluation/test_protocols.py"
RECORDS = "evaluation/test_records.py"
RESULTS = "evaluation/test_results.py"
REPEATED = "evaluation/test_repetitions.py"
AMOUNTS = "evaluation/test_label_efficiency.py"
SEALED = f"{PROTOCOLS}::test_no_fit_reads_the_test_split"

FAULTS = {
    "evaluation/probes.py": {
        f"{PROBES}::test_the_linear_probe_weighs_all_features_alike": [
            ("        sklearn.preprocessing.StandardScaler(),\n", ""),
        ],
        f"{PROBES}::test_the_linear_probe_takes_the_penalty_that_validates_best": [
            ("[1e-4, 1e-3, 1e-2, 1e-1]", "[1e-4]"),
            ("min(5, max(2, smallest))", "min(3, max(2, smallest))"),
            ("shuffle=True, random_state=seed", "shuffle=True, random_state=0"),
            ("search.best_score_ * 100", "search.score(features, labels) * 100"),
        ],
        f"{PROBES}::test_what_the_probe_chooses_among_and_how_it_is_solved": [
            ("[1e-4, 1e-3, 1e-2, 1e-1]", "[1e-4, 1e-3, 1e-2, 1e-1, 1.0]"),
            ("[1e-4, 1e-3, 1e-2, 1e-1]", "[1e-1]"),
            ("max_iter=200, tol=1e-3", "max_iter=200, tol=1e-1"),
            ("max_iter=200, tol=1e-3", "max_iter=2, tol=1e-3"),
            ("logisticregression__C=inverse_penalty", "logisticregression__C=1.0"),
        ],
        f"{PROBES}::test_the_first_five_count_where_there_are_more_classes": [
            ("sum(dim=1) <= 5)", "sum(dim=1) <= 3)"),
        ],
        f"{PROBES}::test_scores_by_hand": [
            ("if count > 5 else None", "if True else None"),
            ('average="micro"', 'average="macro"'),
        ],
        f"{PROBES}::test_a_class_without_a_vote_is_not_among_the_first_five": [
            ("(outputs >= own)", "(outputs > own)"),
        ],
        f"{PROBES}::test_top5_begins_with_six_classes": [
            ("if count > 5 else None", "if count > 4 else None"),
            ("if count > 5 else None", "if count > 6 else None"),
        ],
        f"{PROBES}::test_a_class_without_test_images_counts_for_nothing": [
            ("np.nanmean(self.per_class)", "np.mean(np.nan_to_num(self.per_class))"),
        ],
        f"{PROBES}::"
        "test_always_naming_the_largest_class_is_half_right_when_classes_count_the_same": [  # noqa: E501
            (
                "self.confusion.diagonal().double(), self.confusion.sum(dim=1)",
                "self.confusion.diagonal().double(), self.confusion.sum(dim=0)",
            ),
            ("UNBALANCED = 1.5", "UNBALANCED = 100"),
        ],
        f"{PROBES}::test_the_probe_as_a_head_gives_its_probabilities": [
            ("(features - self.mean) / self.std", "features - self.mean"),
            (
                "torch.cat([torch.zeros_like(weight), weight])",
                "torch.cat([weight, torch.zeros_like(weight)])",
            ),
        ],
        f"{PROBES}::test_a_test_label_that_training_had_not_is_a_sentence": [
            ("    if len(unknown):\n", "    if False:\n"),
        ],
    },
    "evaluation/protocols.py": {
        f"{PROTOCOLS}::"
        "test_a_unit_that_only_a_test_image_excites_does_not_drown_the_others": [
            ("        std = torch.where(std > 2e-6, std, 1.0)\n", ""),
        ],
        SEALED: [
            (
                "train = features.train[run.index], dataset.train.labels[run.index]\n"
                "        return functools",
                "train = features.test, dataset.test.labels\n        return functools",
            ),
            (
                "train.mean(dim=0), train.std(dim=0) + 1e-6",
                "features.test.mean(dim=0), train.std(dim=0) + 1e-6",
            ),
            (
                "train.mean(dim=0), train.std(dim=0) + 1e-6",
                "train.mean(dim=0), features.test.std(dim=0) + 1e-6",
            ),
            ("            dataset.train[run.index],", "            dataset.test,"),
            (
                "return probes.linear_probe(*train, seed=run.seed), []",
                "return probes.linear_probe(features.test, dataset.test.labels), []",
            ),
        ],
        f"{PROTOCOLS}::test_encoding_keeps_train_and_test_apart": [
            (
                "for split in (dataset.train, dataset.test)",
                "for split in (dataset.test, dataset.train)",
            ),
            (
                "for split in (dataset.train, dataset.test)",
                "for split in (dataset.train, dataset.train)",
            ),
        ],
        f"{PROTOCOLS}::test_folds_are_repetitions_with_the_labels_of_the_fold": [
            (
                "train = features.train[run.index], dataset.train.labels[run.index]\n  "
                "      return functools",
                "train = features.train, dataset.train.labels\n        return functools",  # noqa: E501
            ),
            (
                "        train = features.train[run.index]\n        mean",
                "        train = features.train[: len(run.index)]\n        mean",
            ),
        ],
        f"{PROTOCOLS}::test_what_is_not_random_is_done_once_whatever_the_seeds": [
            (
                'return repeat(_on_features("k-NN", fit, features, dataset), '
                "experiment.once())",
                'return repeat(_on_features("k-NN", fit, features, dataset), '
                "experiment)",
            ),
        ],
        f"{PROTOCOLS}::test_a_head_is_trained_once_per_seed": [
            (
                "            dataclasses.replace(settings, seed=run.seed),\n           "
                ' label=f"MLP',
                '            settings,\n            label=f"MLP',
            ),
        ],
        f"{PROTOCOLS}::test_fine_tuning_trains_once_per_fold_on_its_images": [
            (
                "dataset.train[run.index],\n            dataclasses",
                "dataset.train,\n            dataclasses",
            ),
        ],
        f"{PROTOCOLS}::test_the_baseline_is_fine_tuning_from_random_weights": [
            (
                "functools.partial(backbones.build, backbone, stem=stem)",
                "functools.partial(backbones.build, backbone, stem='imagenet')",
            ),
            (
                "classifier, dataset.test.images, image_size=settings.view.size",
                "classifier, dataset.test.images, image_size=settings.view.whole_size",
            ),
        ],
        f"{PROTOCOLS}::test_every_repetition_starts_from_weights_of_its_own_seed": [
            (
                "        torch.manual_seed(run.seed)\n        train",
                "        torch.manual_seed(0)\n        train",
            ),
            (
                "        torch.manual_seed(run.seed)\n        classifier",
                "        torch.manual_seed(0)\n        classifier",
            ),
        ],
    },
    "evaluation/label_efficiency.py": {
        f"{AMOUNTS}::test_every_way_begins_where_it_should": [
            ("features.train[index]", "features.train[: len(index)]"),
            (
                "            features.train[index],\n            part.train.labels,\n",
                "            features.test,\n            dataset.test.labels,\n",
            ),
            (
                '("random", fresh), "fine-tuning": ("pre-trained", create)',
                '("random", create), "fine-tuning": ("pre-trained", fresh)',
            ),
            ("protocols.encode(create(),", "protocols.encode(fresh(),"),
        ],
        f"{AMOUNTS}::test_baseline_and_fine_tuning_are_trained_alike": [
            (
                "epochs=epochs, validation=0.0",
                "epochs=epochs, validation=0.0, "
                "learning_rate=settings.learning_rate / amount",
            ),
            ("epochs=epochs, validation=0.0", "epochs=epochs"),
            (
                "pretraining=dataset.train[index], train_count=len(index)",
                "pretraining=dataset.train, train_count=len(dataset.train)",
            ),
        ],
        f"{AMOUNTS}::test_few_labels_take_more_epochs_but_no_more_steps_than_all": [
            ("max(settings.epochs, enough)", "min(settings.epochs, enough)"),
            ("/ steps_of(len(index), batch_size)", "/ -(-len(index) // batch_size)"),
            ("min(STEPS, whole)", "STEPS"),
            ("min(STEPS, whole)", "whole"),
        ],
        f"{AMOUNTS}::test_points_are_kept_as_they_end": [
            ("seeds=[settings.seed], **kept", "seeds=[settings.seed]"),
            ("[settings.seed], **kept", '[settings.seed], **kept | {"resume": True}'),
        ],
        f"{AMOUNTS}::test_points_take_no_room_for_weights": [
            ("pack=lambda _: {}, unpack=lambda _: None", ""),
        ],
        f"{AMOUNTS}::test_every_way_has_a_point_for_every_amount_that_is_there": [
            (
                "[*(n for n in amounts if n < smallest), smallest]",
                "[*(n for n in amounts if n < smallest)]",
            ),
        ],
        f"{AMOUNTS}::test_fewer_labels_are_part_of_more": [
            (
                "manual_seed(seed)\n    shuffled",
                "manual_seed(seed + amount)\n    shuffled",
            ),
        ],
        f"{AMOUNTS}::"
        "test_the_curve_has_the_amounts_of_stl10_and_every_point_200_steps": [
            ("AMOUNTS = (1, 5, 20, 100, 500)", "AMOUNTS = (1, 5, 20)"),
            ("STEPS = 200 ", "STEPS = 20 "),
        ],
        f"{AMOUNTS}::"
        "test_a_single_label_takes_a_fixed_penalty_and_more_choose_theirs": [
            ("INVERSE_PENALTY = 1e-2 ", "INVERSE_PENALTY = 1e2 "),
            ("=INVERSE_PENALTY if amount == 1 else None", "=INVERSE_PENALTY"),
        ],
    },
    "evaluation/records.py": {
        f"{RECORDS}::test_a_record_has_mean_and_deviation_over_the_repetitions": [
            ("statistics.stdev(top1)", "statistics.pstdev(top1)"),
            ("statistics.fmean(top1)", "max(top1)"),
            ('about.get("epochs_done", 0)', 'about.get("epochs", 0)'),
        ],
        f"{RECORDS}::test_another_condition_makes_another_record": [
            ('"over": over,', ""),
            ("if k not in NO_SETTINGS}", "if False}"),
            ("if k not in OUTCOMES}", 'if k not in (*OUTCOMES, "weights")}'),
            ("if k not in OUTCOMES}", 'if k not in (*OUTCOMES, "settings")}'),
            ("if k not in OUTCOMES}", 'if k not in (*OUTCOMES, "seed_numbers")}'),
            ("if k not in OUTCOMES}", 'if k not in (*OUTCOMES, "fit", "stored_size")}'),
        ],
        f"{RECORDS}::test_the_same_measured_again_is_the_same_record": [
            ('    "commit",\n    "date",\n', ""),
            ('    "knn",\n    "hardware",\n', '    "hardware",\n'),
        ],
        f"{RECORDS}::test_content_is_that_of_pictures_and_labels_and_not_of_names": [
            ("        digest.update(split.labels.numpy().tobytes())\n", ""),
            (
                "            digest.update(batch.contiguous().numpy().tobytes())\n",
                "            pass\n",
            ),
            ("known = (*dataset.classes, dataset.files)", "known = (dataset.files,)"),
            (
                "(dataset.train, dataset.files), (dataset.test",
                "(dataset.pretraining, dataset.files), (dataset.test",
            ),
        ],
        f"{RECORDS}::test_weights_are_told_apart_by_every_tensor": [
            (
                "sorted(network.state_dict().items())",
                "sorted(network.named_parameters())",
            ),
            (".contiguous().reshape(-1)", ".reshape(-1)[:1]"),
        ],
        f"{RECORDS}::test_names_are_readable_and_fit_a_disk": [
            ("{readable[:120]}", "{readable}"),
        ],
        f"{RECORDS}::test_several_records_become_one": [
            ("one[key] for one in same]}", "same[0][key] for one in same]}"),
        ],
        f"{RESULTS}::test_a_broken_record_is_a_sentence_and_the_others_are_shown": [
            (
                "good = type(value) is int and least",
                "good = isinstance(value, int) and least",
            ),
            ("file.stat().st_size > 1 << 20", "False"),
        ],
    },
    "evaluation/repetitions.py": {
        f"{PROTOCOLS}::test_folds_are_repetitions_with_the_labels_of_the_fold": [
            (
                'Repetition(fold, seed, f"fold {seed}")',
                'Repetition(fold, 0, f"fold {seed}")',
            ),
            ('"official folds" if experiment.folds', '"official folds" if False'),
        ],
        f"{PROTOCOLS}::test_what_is_not_random_is_done_once_whatever_the_seeds": [
            ("return dataclasses.replace(self, seeds=(0,))", "return self"),
        ],
        f"{PROTOCOLS}::test_frozen_protocols_learn_and_record": [
            ('about.get("minutes", 0.0) + sum', "sum"),
        ],
        f"{REPEATED}::test_other_work_never_goes_on_from_this": [
            ("content=records.content(dataset),", ""),
            ("weights=protocol.weights,", ""),
            ("settings=chosen,", ""),
        ],
        f"{REPEATED}::test_two_processes_never_do_the_same_work": [
            ("stack.enter_context(ownership.own(self.store.folder))", "True"),
        ],
        f"{REPEATED}::test_what_was_stopped_goes_on_to_the_same_end": [
            ("for run in runs[len(scores) :]:", "for run in runs:"),
            (
                "            _remove(self._part(run))\n        except",
                "            pass\n        except",
            ),
        ],
        f"{REPEATED}::test_more_repetitions_begin_with_those_that_are_there": [
            ('saved["record"] = None', "pass"),
            ("self.shorter if self.experiment.resume else ()", "()"),
            ("self.shorter if self.experiment.resume else ()", "self.shorter"),
        ],
        f"{REPEATED}::test_what_is_finished_is_shown_and_said": [
            ("                self.store.clear()\n", "                pass\n"),
        ],
        "evaluation/test_prediction.py::"
        "test_the_file_has_the_accuracy_that_was_recorded": [
            ('"top1": last.top1,', '"top1": max(one.top1 for one in scores) + 1,'),
        ],
    },
    "evaluation/results.py": {
        f"{RESULTS}::test_what_a_record_says_is_never_markup": [
            ('        .format(escape="html")\n', ""),
            ('        .format_index(escape="html", axis=1)\n', ""),
            ("    shown = shown.map(_escape)\n", ""),
            ("columns = map(_escape, shown.columns)", "columns = shown.columns"),
            ("name = _escape(method) if epochs", "name = method if epochs"),
            (
                "html.escape(files.printable(text), quote=False)",
                "files.printable(text)",
            ),
            ('re.sub(r"([\\\\`*\\[\\]|$])", r"\\\\\\1", text)', "text"),
            ("[files.printable(value) for value in values]", "list(values)"),
        ],
        f"{RESULTS}::test_what_all_rows_share_is_never_markup": [
            (".set_caption(html.escape(shared))", ".set_caption(shared)"),
            (
                "html.escape(files.printable(text), quote=False)",
                "html.escape(text, quote=False)",
            ),
            (
                'f"{text}\\n\\n{_escape(shared)}" if shared',
                'f"{text}\\n\\n{shared}" if shared',
            ),
            (
                'return _escape(" or ".join(sorted({str(result[key]) for result in '
                "chosen})))",
                'return " or ".join(sorted({str(result[key]) for result in chosen}))',
            ),
        ],
        f"{RESULTS}::test_the_table_shows_the_best_of_each_protocol_in_bold": [
            ("        if len(numbers) > 1:\n", "        if True:\n"),
            (
                'highest = max(found[number]["top1_mean"]',
                'highest = min(found[number]["top1_mean"]',
            ),
        ],
        f"{RESULTS}::test_folds_and_all_labels_each_have_a_best": [
            ('result.get("folds") or 0, result["backbone"]', '0, result["backbone"]'),
        ],
        f"{RESULTS}::test_a_short_training_is_not_compared_with_a_long_one_in_silence": [  # noqa: E501
            ("group, settings\n", 'group, ""\n'),
        ],
        f"{RESULTS}::test_the_pivot_mixes_no_conditions": [
            ("row[column] != NONE or same != _comparable(result)", "False"),
        ],
        f"{RESULTS}::test_a_record_that_lacks_something_is_refused": [
            ("        records.check(result)\n", "        pass\n"),
        ],
        f"{RESULTS}::test_a_mirror_that_is_gone_is_not_made_again": [
            ("if copies and not copies.parent.is_dir():", "if False:"),
        ],
    },
}

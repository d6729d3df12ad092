"""Files, hardware, commands, notebooks and figures that say or keep something else."""

FILES = "test_files.py"
HARDWARE = "test_hardware.py"

FAULTS = {
    "files.py": {
        f"{FILES}::test_a_failing_write_keeps_the_old_file_and_leaves_no_litter": [
            ("        save(beside)\n", "        save(path)\n        save(beside)\n"),
            ("for file in (beside, before):", "for file in (before,):"),
        ],
        f"{FILES}::test_what_is_removed_is_emptied_first": [
            ("    os.truncate(path, 0)\n", ""),
        ],
        f"{FILES}::test_a_lock_is_held_by_one": [
            ("lock.acquire(timeout=timeout)", "pass"),
        ],
        f"{FILES}::test_a_digest_is_the_start_of_the_sha256": [
            ('file_digest(file, "sha256")', 'file_digest(file, "md5")'),
            (".hexdigest()[:8]", ".hexdigest()[:4]"),
        ],
        f"{FILES}::test_only_what_was_left_half_written_is_removed": [
            ('elif re.match(r"\\.\\d+-", file.name):', "else:"),
        ],
        f"{FILES}::test_a_copy_on_a_drive_leaves_no_content_in_its_bin": [
            ("        if empty_old and path.exists():", "        if False:"),
            ("            if not path.exists():", "            if False:"),
        ],
        f"{FILES}::test_what_was_moved_out_of_the_way_goes_back": [
            (
                "if moved and not file.with_name(moved[1]).exists():",
                "if moved and file.with_name(moved[1]).exists():",
            ),
        ],
        f"{FILES}::test_a_file_that_is_in_use_is_waited_for": [
            ("    for seconds in PATIENCE:", "    for seconds in ():"),
        ],
        f"{FILES}::test_a_folder_that_has_gone_is_not_made_again_if_so_wished": [
            ("        if make_folder:\n", "        if True:\n"),
        ],
        f"{FILES}::test_what_is_written_is_on_the_disk_before_it_has_its_name": [
            ("            os.fsync(file.fileno())\n", "            pass\n"),
            ("        _flush_folder(path.parent)\n", ""),
        ],
    },
    "hardware.py": {
        f"{HARDWARE}::test_every_process_has_a_gpu_of_its_own": [
            (', int(os.environ.get("LOCAL_RANK", "0")))', ")"),
        ],
        f"{HARDWARE}::test_workers_are_no_more_than_the_container_has_cores": [
            ("int(quota) / int(period)", "int(quota)"),
            ('_cgroups("cpu")', '_cgroups("")'),
        ],
        f"{HARDWARE}::test_the_memory_is_what_the_system_and_its_container_leave": [
            ("limit - in_use", "limit"),
            (" - int(stat[cached])", ""),
        ],
        f"{HARDWARE}::test_mixed_precision_only_where_the_hardware_has_it": [
            ("get_device_capability()[0] >= 8", "get_device_capability()[0] >= 7"),
            ('return "bf16-mixed" if recent else "16-mixed"', 'return "bf16-mixed"'),
        ],
        f"{HARDWARE}::test_a_cpu_is_asked_for_bfloat16": [
            ('.get("amx_bf16")', '.get("avx512_bf16")'),
        ],
        f"{HARDWARE}::test_convolutions_get_the_order_they_like_and_hand_it_on": [
            (
                "memory_format=torch.channels_last)",
                "memory_format=torch.preserve_format)",
            ),
        ],
        f"{HARDWARE}::test_evaluation_computes_in_the_precision_of_training": [
            (
                'torch.bfloat16 if precision() == "bf16-mixed"',
                'torch.bfloat16 if precision() == "16-mixed"',
            ),
        ],
        f"{HARDWARE}::test_processes_share_the_cores_and_the_memory": [
            ("_container_memory())) / _processes()", "_container_memory()))"),
        ],
    },
    "cli/report.py": {
        "cli/test_commands.py::test_of_several_processes_one_prints_and_saves": [
            (
                "        if not hardware.is_first_process():  # the",
                "        if False:  # the",
            ),
        ],
        "cli/test_commands.py::test_unbalanced_classes_are_said": [
            ("if outcome.scores.is_unbalanced:", "if False:"),
        ],
    },
    "cli/commands.py": {
        "cli/test_commands.py::"
        "test_a_backbones_images_are_prepared_as_those_it_has_learned_from": [
            ("{**prediction.prepared(about), ", "{"),
            ('prepared(about), "image_size": side}', "prepared(about)}"),
        ],
    },
    "cli/command_line.py": {
        "cli/test_commands.py::"
        "test_a_backbone_is_scored_on_the_images_it_has_learned_from": [
            ("    if source in data.NAMES:\n", "    if False:\n"),
            ("    if unnamed:  # after --help\n", "    if False:\n"),
            (' and "data" not in chosen:\n', ":\n"),
        ],
    },
    "notebook/choices.py": {
        "notebook/test_choices.py::"
        "test_several_backbones_can_be_chosen_by_their_numbers": [
            ("if count[name] > 1:", "if False:"),
            ("list({one.source: one for one in answer}.values())", "list(answer)"),
        ],
        "notebook/test_choices.py::test_fewer_labels_of_the_same_images_"
        "matter_only_where_they_were_learned_from": [
            ("if not (method and method.needs_labels):", "if True:"),
            ("if not (method and method.needs_labels):", "if False:"),
        ],
        "notebook/test_choices.py::"
        "test_what_was_released_is_the_default_until_there_is_something_of_ones_own": [
            ("    if not newest:\n", "    if False:\n"),
            ("    if not newest:\n", "    if True:\n"),
            ("if _same(one, data)] or released", "] or released"),
            (
                "_same(backbone, data) and not backbone.is_released",
                "_same(backbone, data)",
            ),
        ],
    },
    "notebook/answers.py": {
        "notebook/test_answers.py::"
        "test_photographs_without_a_gpu_get_the_recipe_for_them": [
            ("        return min(fewer, epochs)\n", "        return epochs\n"),
        ],
        "notebook/test_answers.py::"
        "test_a_run_that_began_from_a_file_is_offered_where_only_its_copy_is_left": [
            (" or not there else str(there[0])", " or not there else init"),
        ],
        "notebook/test_answers.py::test_a_run_that_began_from_a_file_is_found": [
            ('weight_files.identify(kept["init"])', 'kept["init"]'),
        ],
        "notebook/test_answers.py::"
        "test_a_baseline_is_like_the_backbones_it_will_be_compared_with": [
            ("        stem=alike.stem,\n", ""),
            ('_usual_recipe("byol", source))', '"hour")'),
        ],
        "notebook/test_answers.py::"
        "test_methods_without_the_recipe_for_an_hour_on_a_gpu_take_the_long_one": [
            (' if "gpu_hour" in methods.get(method).recipes else "long"', ""),
            (
                " for name, about in RECIPES.items() if name in known",
                " for name, about in RECIPES.items()",
            ),
        ],
    },
    "notebook/pace.py": {
        "notebook/test_pace.py::"
        "test_the_speed_is_measured_with_real_steps_and_leaves_no_trace[supcon]": [
            ("labels = torch.arange(count) % 2", "labels = torch.arange(count) % 1"),
        ],
        "notebook/test_pace.py::test_views_that_grow_are_timed_at_every_size": [
            ("seconds += share * count", "seconds += count"),
            ("options_at(side)", "options_at(chosen.image_size)"),
        ],
    },
    "notebook/inspection.py": {
        "notebook/test_inspection.py::"
        "test_every_network_sees_the_same_images_of_all_classes": [
            (
                "dataset.train if dataset.train_count else dataset.pretraining",
                "dataset.test",
            ),
        ],
    },
    "figures/charts.py": {
        "figures/test_charts.py::test_a_single_run_has_no_error_bar": [
            ('record.get("seeds", 1) > 1', 'record.get("seeds", 1) > 0'),
        ],
        "figures/test_charts.py::"
        "test_a_method_has_the_same_colour_whatever_stands_beside_it": [
            ("if key.startswith(name)), None)", "if name in key), None)"),
        ],
    },
}

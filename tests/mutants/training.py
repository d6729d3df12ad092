"""Loops, schedules, optimizers, states and locks that do something else."""

LOOP = "training/test_pretraining.py"
HOOKS = f"{LOOP}::test_every_hook_is_called_in_its_place_and_progress_runs_once"
SEALED = f"{LOOP}::test_no_pretraining_touches_the_test_split"
SITTINGS = f"{LOOP}::test_two_sittings_equal_one_bit_for_bit"
MIDDLE = f"{LOOP}::test_a_run_goes_on_in_the_middle_of_an_epoch_bit_for_bit"
HISTORY = f"{LOOP}::test_the_history_has_what_people_and_figures_need"
SESSIONS = "training/test_sessions.py"
STORE = "training/test_checkpoints.py"
OWNER = "training/test_ownership.py"
EXTENDED = "training/test_extension.py"

FAULTS = {
    "training/pretraining.py": {
        HOOKS: [
            ("        method.before_step(step / total)\n", ""),
            ("method.before_step(step / total)", "method.before_step(step / steps)"),
            ("        method.after_backward()\n", ""),
            ("        method.after_step((step + 1) / total)\n", ""),
            (
                "method.after_step((step + 1) / total)",
                "method.after_step(step / total)",
            ),
            (
                "        optimizer.step()\n        method.after_step((step + 1) / "
                "total)\n",
                "        method.after_step((step + 1) / total)\n        "
                "optimizer.step()\n",
            ),
            (
                "        fabric.backward(loss)\n        method.after_backward()\n",
                "        method.after_backward()\n        fabric.backward(loss)\n",
            ),
            (
                "        method.before_step(step / total)\n"
                "        views = method.views(images, random)\n",
                "        views = method.views(images, random)\n"
                "        method.before_step(step / total)\n",
            ),
        ],
        f"{LOOP}::test_the_loop_is_ten_lines_of_torch": [
            ("        optimizer.zero_grad()\n", ""),
            ("    model.train()\n", "    method.eval()\n"),
            ("engine.step_random(settings.seed, step,", "engine.step_random(0, step,"),
            (
                "engine.step_random(settings.seed, step,",
                "engine.step_random(settings.seed, epoch,",
            ),
        ],
        f"{LOOP}::test_every_image_is_seen_once_an_epoch_in_another_order": [
            ("session.labels[index])", "session.labels[: len(index)])"),
            ("session.shuffled(epoch, part.done)", "session.in_order()"),
            ("session.shuffled(epoch, part.done)", "session.shuffled(0, part.done)"),
        ],
        f"{LOOP}::test_every_step_has_the_schedules_rate_from_the_first_on": [
            (
                "        optimizers.set_learning_rate(optimizer, "
                "settings.peak_learning_rate, factor)\n",
                "",
            ),
            (
                "settings.rate_factor(step, steps, before)",
                "settings.rate_factor(step + 1, steps, before)",
            ),
            (
                "settings.rate_factor(step, steps, before)",
                "settings.rate_factor(epoch * steps, steps, before)",
            ),
            (
                "(optimizer, settings.peak_learning_rate, factor)",
                "(optimizer, settings.learning_rate, factor)",
            ),
        ],
        f"{LOOP}::test_a_plateau_is_gone_on_with_bit_for_bit": [
            ('before = [entry["loss"] for entry in history]', "before = []"),
        ],
        f"{LOOP}::test_gradients_are_clipped_to_a_norm_of_all_together": [
            ("optimizer, settings.gradient_clip)", "optimizer, 0.0)"),
        ],
        SEALED: [("evenly_spaced(dataset.train)", "evenly_spaced(dataset.test)")],
        HISTORY: [
            ("epoch + 1 == epochs or ", ""),
            ("part.spreads[part.done] = gauges.spread(method.embedding)", "pass"),
            ('"images": (epoch + 1) * steps', '"images": epoch * steps'),
        ],
        f"{SESSIONS}::test_views_grow_in_the_middle_of_a_run_that_is_stopped_there": [
            ("    method.set_view(settings.view_at(epoch))\n", ""),
        ],
        f"{LOOP}::test_a_finished_run_is_returned_without_training": [
            ("    method.module.set_view(settings.view_at(len(history) - 1))\n", ""),
        ],
        "methods/test_dino.py::test_the_teacher_or_the_student_is_scored_and_saved": [
            (
                "                    method.final_backbone,",
                "                    method.backbone,",
            ),
            ("settings.view_at(epoch).whole_size", "settings.view_at(epoch).size"),
        ],
        f"{OWNER}::test_a_run_refuses_a_second_training": [
            ("stack.enter_context(ownership.own(store.folder))", "True"),
        ],
        f"{LOOP}::test_starting_over_forgets_what_was_saved": [
            ("                store.clear()\n", "                pass\n"),
        ],
        f"{LOOP}::test_weights_that_diverge_in_the_last_step_are_not_saved": [
            (
                "            )\n            sessions.check_finite(session, store, "
                "progress)\n",
                "            )\n",
            ),
        ],
        f"{EXTENDED}::test_an_extended_run_has_the_first_epochs_of_the_finished_one": [
            ("if found and wanted:", "if False:"),
        ],
        f"{LOOP}::test_the_time_before_a_stop_within_an_epoch_is_counted": [
            (
                "started = time.perf_counter() - part.seconds",
                "started = time.perf_counter()",
            ),
        ],
    },
    "training/sessions.py": {
        f"{SITTINGS}[byol-adamw]": [
            ('    session.method.load_state_dict(saved["method"])\n', ""),
            (
                '    optimizers.load_moments(session.optimizer, saved["optimizer"])\n',
                "",
            ),
            ("self.settings.seed * 100_003 + epoch", "torch.initial_seed() + epoch"),
        ],
        f"{SITTINGS}[simclr-sgd]": [
            ("    torch.manual_seed(settings.seed)\n", ""),
        ],
        f"{LOOP}::test_the_loop_is_ten_lines_of_torch": [
            ("torch.manual_seed(settings.seed)", "torch.manual_seed(0)"),
        ],
        f"{LOOP}::test_every_image_is_seen_once_an_epoch_in_another_order": [
            ("self.settings.seed * 100_003 + epoch", "self.settings.seed"),
        ],
        f"{SESSIONS}::test_the_loss_scaler_goes_on_where_it_stopped": [
            (
                "        "
                'session.fabric.strategy.precision.load_state_dict(saved["scaler"])\n',
                "        pass\n",
            ),
        ],
        f"{MIDDLE}[pirl]": [
            ('for name in ("losses", "spreads"):', 'for name in ("spreads",):'),
            ('for name in ("losses", "spreads"):', 'for name in ("losses",):'),
            ("getattr(part, name).copy_(", "part.losses.copy_("),
            ("batches[skipped : self.steps]", "batches[: self.steps]"),
            ('"done": part.done,', '"done": 0,'),
        ],
        f"{LOOP}::test_the_time_before_a_stop_within_an_epoch_is_counted": [
            ('"seconds": part.seconds,', '"seconds": 0.0,'),
        ],
        f"{EXTENDED}::test_an_extended_run_has_the_first_epochs_of_the_finished_one": [
            ('        "extended_from": progress.extended_from,\n', ""),
            (
                '        about["extended_from"] = progress.extended_from\n',
                "        pass\n",
            ),
        ],
        f"{SESSIONS}::test_the_bank_is_filled_whatever_the_number_of_images": [
            ("tensor_split(math.ceil(count / 256))", "split(256)"),
        ],
        f"{LOOP}::test_the_bank_of_a_run_is_filled_once_before_its_first_step": [
            ("        session.method.module.start(session.in_order())\n", ""),
            ("        session.method.train()\n", "        session.method.eval()\n"),
        ],
        f"{LOOP}::test_weights_that_diverge_in_the_last_step_are_not_saved": [
            ("[*method.parameters(), *method.backbone.buffers(), losses]", "[losses]"),
        ],
        f"{LOOP}::test_a_loss_that_is_no_number_keeps_the_state_before": [
            ("*method.backbone.buffers(), losses]", "*method.backbone.buffers()]"),
        ],
        "methods/test_dino.py::test_the_teacher_or_the_student_is_scored_and_saved": [
            (
                "(session.method.final_backbone, about)",
                "(session.method.module.backbone, about)",
            ),
        ],
        "methods/test_supcon.py::test_supcon_says_when_there_are_no_classes": [
            ("needs_labels and classes < 2", "needs_labels and False"),
        ],
        f"{LOOP}::test_a_whole_state_of_something_else_is_one_sentence": [
            ("if not 0 <= part.done <= session.steps:", "if False:"),
            ("if saved_part[name].shape != part.losses.shape:", "if False:"),
            (
                "    checkpoints.check_history(progress.history",
                "    print(progress.history",
            ),
        ],
    },
    "training/checkpoints.py": {
        f"{LOOP}::test_a_finished_backbone_is_not_replaced_where_its_states_are_gone": [
            ("weight_files.is_finished(about):", "False:"),
            (
                "for folder in self._folders():\n            file, about =",
                "for folder in [self.folder]:\n            file, about =",
            ),
        ],
        f"{STORE}::test_states_come_back_and_only_two_are_kept": [
            ("KEPT_STATES = 2", "KEPT_STATES = 1"),
            (
                "sorted(self._states(), key=_position, reverse=True)",
                "sorted(self._states(), key=_position)",
            ),
        ],
        f"{STORE}::test_a_damaged_state_falls_back_to_the_one_before": [
            ('return files.digest(state) == state.stem.split("-")[-1]', "return True"),
        ],
        f"{STORE}::test_a_history_is_numbers_of_so_many_epochs": [
            ("or len(history) > most:", "or False:"),
            ("if values[0] != number or not all(", "if not all("),
            ("abs(float(value)) >= 0 for", "True for"),
            ("type(value) in (int, float) and", "float(value) is not None and"),
        ],
        f"{STORE}::test_states_are_data_and_not_code": [
            ("weights_only=True", "weights_only=False"),
        ],
        f"{STORE}::test_the_mirror_serves_when_the_machine_is_new": [
            ("        self._copy(file.name)\n        for folder", "        for folder"),
        ],
        f"{STORE}::test_a_newer_state_wins_wherever_it_is": [
            (
                "for folder in self._folders() for file in",
                "for folder in [self.folder] for file in",
            ),
        ],
        f"{STORE}::test_positions_within_an_epoch_are_in_order_and_old_names_are_known": [  # noqa: E501
            ("return int(epoch), int(step or 0)", "return int(epoch), 0"),
        ],
        f"{STORE}::test_what_killed_processes_left_half_written_is_removed": [
            (
                "                files.remove_unfinished(folder)\n",
                "                pass\n",
            ),
            ("        if is_owned:\n", "        if True:\n"),
        ],
        f"{STORE}::test_cleared_states_are_gone_everywhere_and_nothing_else_is": [
            (
                "                files.remove(state)\n            except",
                "                pass\n            except",
            ),
        ],
        f"{STORE}::"
        "test_a_mirror_that_goes_is_not_made_again_and_gets_all_when_it_is_back": [
            ("                self._is_made = True\n", ""),
        ],
    },
    "training/ownership.py": {
        f"{OWNER}::test_a_second_process_is_refused_and_told_by_whom": [
            (
                "        raise ValueError(\n",
                "        return None\n        raise ValueError(\n",
            ),
            ('"process": os.getpid(),', '"process": os.getppid(),'),
            ('folder / ".lock", ', 'folder / f".lock-{os.getpid()}", '),
        ],
        f"{OWNER}::test_workers_of_a_killed_owner_are_waited_for": [
            ("0 if _is_running(folder) else PATIENCE", "0"),
            ("0 if _is_running(folder) else PATIENCE", "PATIENCE"),
            (
                "    except ProcessLookupError:\n        return False",
                "    except ProcessLookupError:\n        return True",
            ),
            ('if about.get("machine") != platform.node() or', "if"),
        ],
        f"{OWNER}::test_a_killed_owners_run_is_taken_over": [
            ("                owner.unlink()\n", "                pass\n"),
        ],
        f"{OWNER}::test_an_unreadable_note_changes_only_the_sentence": [
            ("        if isinstance(about, dict):\n", "        if True:\n"),
        ],
        f"{OWNER}::test_without_locks_runs_train_as_ever": [
            ("yield lock is not None", "yield True"),
        ],
    },
    "training/extension.py": {
        f"{EXTENDED}::test_other_settings_and_unfinished_runs_are_not_extended": [
            ("if store.position() == (epochs, 0):", "if store.position():"),
            ("if shorter.run_name(dataset) == name:", "if True:"),
        ],
        f"{EXTENDED}::test_an_extended_run_has_the_first_epochs_of_the_finished_one": [
            ("key=lambda pair: pair[0]", "key=lambda pair: -pair[0]"),
        ],
        f"{EXTENDED}::test_a_damaged_state_is_not_extended": [
            (' or len(state.get("history", ())) != epochs', ""),
        ],
    },
    "training/shared_norm.py": {
        "training/test_shared_norm.py": [
            (
                "(variances + (means - mean).square()).mean(dim=0)",
                "variances.mean(dim=0)",
            ),
            ("var * count / max(1, count - 1)", "var"),
            ("shared.train(layer.training)", "shared"),
        ],
    },
    "training/watch.py": {
        "training/test_watch.py": [
            ('reduce_op="max"', 'reduce_op="min"'),
            (
                "self.fabric, self.seconds = fabric, 60 * save_minutes",
                "self.fabric, self.seconds = fabric, save_minutes",
            ),
            ("if self.fabric.global_rank == 0 else [0, 0]", "if True else [0, 0]"),
            ("AGREE_EVERY = 2.0", "AGREE_EVERY = 0.0"),
            ("min(SAVING_PAYS * cost, LONGEST_WAIT)", "LONGEST_WAIT"),
            ("min(SAVING_PAYS * cost, LONGEST_WAIT)", "SAVING_PAYS * cost"),
            ("is_epochs_end and saving_pays(", "saving_pays("),
            ("        self.cost = self.saved - began\n", ""),
        ],
    },
    "training/signals.py": {
        "training/test_signals.py": [
            ("self.status = 128 + number", "self.status = number"),
            ("(signal.SIG_IGN, None)", "(None,)"),
            ("            signal.signal(number, old)\n", "            pass\n"),
        ],
    },
}

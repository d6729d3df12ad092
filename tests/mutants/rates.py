"""Optimizers, schedules, settings and trainings with labels that do something else."""

LOOP = "training/test_pretraining.py"
SETTINGS = "training/test_settings.py"
OPTIMIZERS = "training/test_optimizers.py"
SUPERVISED = "training/test_supervised.py"
PAGE = "test_recipes.py::test_the_page_has_the_settings_of_the_protocols"

FAULTS = {
    "training/gauges.py": {
        "training/test_gauges.py": [
            (" * embedding.shape[1] ** 0.5", ""),
            ("functional.normalize(embedding.float(), dim=1)", "embedding.float()"),
            ("normalized.std(dim=0)", "normalized.std(dim=1)"),
            ("COLLAPSED = 0.1 ", "COLLAPSED = 0.9 "),
        ],
    },
    "training/optimizers.py": {
        f"{OPTIMIZERS}::test_moments_and_rate_come_from_a_file_and_nothing_else_does": [
            ('if mine["params"] != other["params"]:', "if False:"),
            ("moment.shape != form", "False"),
            ("weight not in weights or (names and names not in MOMENTS)", "False"),
            ('"param_groups": own}', '"param_groups": saved["param_groups"]}'),
            ("    optimizer.load_state_dict({", "    print({"),
            ('mine["lr"] = float(other["lr"])', "pass"),
        ],
        f"{OPTIMIZERS}::test_only_weights_are_decayed": [
            (
                '"params": rest, "weight_decay": 0.0',
                '"params": rest, "weight_decay": weight_decay',
            ),
            ("if p.ndim > 1]", "if p.ndim > 2]"),
            ("if p.requires_grad]", "]"),
        ],
        f"{OPTIMIZERS}::test_two_steps_equal_the_closed_form": [
            ("if weight.ndim <= 1:", "if False:"),
            ("trust_coefficient: float = 0.001", "trust_coefficient: float = 0.01"),
            ("trust_coefficient=0.02, clip=True", "trust_coefficient=0.001, clip=True"),
            ("trust_coefficient=0.02, clip=True", "trust_coefficient=0.02"),
            (
                'size = gradient_norm + group["weight_decay"] * norm',
                "size = gradient_norm",
            ),
            ('else ratio * group["lr"]', "else ratio"),
            ('mul_(group["momentum"])', "mul_(0.0)"),
            (
                'weight.grad.add(weight, alpha=group["weight_decay"])',
                "weight.grad.clone()",
            ),
        ],
        f"{OPTIMIZERS}::test_lars_moves_a_weight_of_norm_zero": [
            ("(norm > 0) & (gradient_norm > 0)", "gradient_norm > 0"),
        ],
        f"{OPTIMIZERS}::test_momentum_reaches_every_optimizer": [
            ("betas=(momentum, 0.999)", "betas=(0.9, 0.999)"),
            (
                "return LARS(split, lr=learning_rate, momentum=momentum)",
                "return LARS(split, lr=learning_rate)",
            ),
            ('nesterov = name == "nesterov"', "nesterov = False"),
        ],
        f"{OPTIMIZERS}::test_two_steps_move_weights_in_any_memory_order_by_the_formula": [  # noqa: E501
            ("betas=(momentum, 0.999)", "betas=(momentum, 0.99)"),
            (
                'torch.optim.Adam if name == "adam"',
                'torch.optim.AdamW if name == "adam"',
            ),
        ],
        f"{OPTIMIZERS}::test_groups_scale_the_rate_and_may_ignore_the_schedule": [
            ('"scale": group.get("scale", 1.0)', '"scale": 1.0'),
            ('1.0 if group["constant"] else factor', "factor"),
            ('learning_rate * group["scale"] * scheduled', "learning_rate * scheduled"),
        ],
        f"{OPTIMIZERS}::test_the_schedule_climbs_then_follows_a_cosine_to_its_end": [
            ("min(1.0, (step + 1) / warmup)", "min(1.0, step / warmup)"),
            ("max(0, step - warmup) / max(1, total - warmup)", "step / total"),
            ("final + (1 - final) * 0.5", "0.5"),
            (
                "math.cos(math.pi * min(1.0, progress))",
                "math.cos(math.pi / 2 * min(1.0, progress))",
            ),
        ],
        f"{OPTIMIZERS}::test_the_plateau_counts_as_torchs_scheduler": [
            ("if waited > patience:", "if waited >= patience:"),
            ("factor * 0.1, 0", "factor * 0.1, waited"),
        ],
    },
    "training/settings.py": {
        f"{SETTINGS}::test_what_is_wrong_is_one_sentence": [
            ("if self.batch_size < 2:", "if self.batch_size < 1:"),
        ],
        f"{SETTINGS}::test_the_learning_rate_follows_the_batch_size": [
            ("self.learning_rate * self.batch_size / 256", "self.learning_rate"),
        ],
        f"{SETTINGS}::test_the_schedule_reaches_the_rate": [
            ("round(self.warmup_epochs * steps)", "round(self.warmup_epochs)"),
            ("patience=self.patience,", ""),
            ("final=self.final_factor,", ""),
        ],
        f"{SETTINGS}::test_views_grow_by_the_schedule_and_the_backbone_says_so": [
            (
                "epoch >= round(share * self.epochs)",
                "epoch > round(share * self.epochs)",
            ),
            ('"evaluation_size": view.whole_size', '"evaluation_size": view.size'),
            (
                "return self.view_at(self.epochs - 1).whole_size",
                "return self.options.view.whole_size",
            ),
        ],
        f"{SETTINGS}::test_every_setting_and_the_data_change_the_name_of_the_run": [
            (
                "dataset.pretraining.images.shape, dataset.files]",
                "dataset.pretraining.images.shape]",
            ),
            ("[dataset.name, *dataset", "[*dataset"),
            ("json.dumps([*images, values]", "json.dumps([*images]"),
        ],
        f"{SETTINGS}::test_how_often_the_gauge_is_read_does_not_change_the_name": [
            (
                'values["monitor_every"] = PretrainingSettings.monitor_every',
                "pass",
            ),
        ],
        f"{SETTINGS}::test_a_recipes_stem_gives_way_to_what_the_network_has": [
            ('values["stem"] = "imagenet"', "pass"),
        ],
        f"{SETTINGS}::test_changes_reach_the_settings_the_options_and_the_views": [
            (
                "{**own, **changes}",
                "{**changes, **own}",
            ),
        ],
        f"{SETTINGS}::test_every_number_has_a_range": [
            ("        check_ranges(self.options)\n", ""),
            ('"weight": (0, 1),', '"weight": (0, float("inf")),'),
            ('"momentum": (0, 0.999999),', '"momentum": (-1, 0.999999),'),
        ],
        f"{SETTINGS}::test_a_backbone_says_how_it_was_made": [
            ("reversed(history) if", "history[-1:] if"),
        ],
        f"{SETTINGS}::test_a_run_is_named_by_the_content_of_its_initial_weights": [
            (
                '{**dataclasses.asdict(self), "init": self.initial_weights}',
                "dataclasses.asdict(self)",
            ),
        ],
    },
    "training/engine.py": {
        "training/test_engine.py::"
        "test_the_shares_of_all_processes_are_the_batches_of_one": [
            ("start = fabric.global_rank * share", "start = 0"),
            ("[: len(order) // batch_size]", ""),
        ],
        "training/test_engine.py::"
        "test_the_random_numbers_of_all_processes_are_those_of_one": [
            ("fabric.device, rank, processes)", "fabric.device)"),
        ],
        f"{LOOP}::test_layers_that_draw_random_numbers_go_on_bit_for_bit": [
            (
                "    torch.manual_seed("
                "(seed * 1_000_003 + step + (rank << 48)) % (1 << 62))\n",
                "",
            ),
        ],
        f"{LOOP}::test_gradients_are_clipped_to_a_norm_of_all_together": [
            ("max_norm=max_norm,", "max_norm=10 * max_norm,"),
        ],
        "training/test_engine.py::test_batchnorm_sees_the_whole_batch_on_several_gpus": [  # noqa: E501
            ('if fabric.device.type == "cuda":', "if False:"),
        ],
    },
    "training/supervised.py": {
        f"{SUPERVISED}::test_of_two_labels_a_class_none_is_spared_for_validation": [
            ("at_least=0", "at_least=1"),
        ],
        f"{SUPERVISED}::test_a_training_that_diverges_is_stopped_and_not_kept": [
            ("if not engine.are_finite(", "if False and engine.are_finite("),
        ],
        f"{SUPERVISED}::test_validation_images_are_not_trained_on": [
            (
                "order = kept[torch.randperm(len(kept)",
                "order = "
                "torch.arange(len(train.labels))[torch.randperm(len(train.labels)",
            ),
            ("held.split(256), train", "torch.arange(len(train)).split(256), train"),
        ],
        f"{SUPERVISED}::test_it_learns_what_is_easy": [
            ("VALIDATE_EVERY = 5", "VALIDATE_EVERY = 1"),
        ],
        f"{SUPERVISED}::"
        "test_every_image_is_learned_from_over_the_epochs_in_its_own_order": [
            ("kept[torch.randperm(len(kept), generator=generator)]", "kept"),
            (
                "torch.Generator().manual_seed(settings.seed)",
                "torch.Generator().manual_seed(0)",
            ),
        ],
        f"{SUPERVISED}::test_label_smoothing_reaches_the_loss": [
            ("label_smoothing=settings.label_smoothing,", ""),
        ],
        f"{SUPERVISED}::test_fine_tuning_moves_the_head_ten_times_as_fast": [
            ('            "scale": settings.backbone_scale,\n', ""),
        ],
        f"{SUPERVISED}::test_the_rate_follows_the_schedule_to_the_end": [
            ("enumerate(batches, start=epoch * steps)", "enumerate(batches)"),
        ],
        f"{SUPERVISED}::test_a_plateau_of_the_training_loss_lowers_the_rate": [
            ('losses = [entry["loss"] for entry in history]', "losses = []"),
        ],
        f"{SUPERVISED}::test_gradients_are_clipped": [
            ("optimizer, settings.gradient_clip)", "optimizer, 0.0)"),
        ],
        f"{SUPERVISED}::test_a_trained_network_is_ready_to_be_used": [
            ("    network.eval()\n    return history", "    return history"),
        ],
        f"{SUPERVISED}::test_a_training_that_goes_on_ends_with_the_same_weights": [
            ('self.fabric.strategy.precision.load_state_dict(state["scaler"])', "pass"),
            ('            self.network.load_state_dict(state["network"])\n', ""),
            (
                "            "
                'optimizers.load_moments(self.optimizer, state["optimizer"])\n',
                "",
            ),
            (
                "        torch.randperm(len(kept), generator=generator)\n    bar",
                "        pass\n    bar",
            ),
            ("history = states.load()", "history = (states.load(), [])[1]"),
        ],
        f"{SUPERVISED}::test_every_step_has_random_views_of_its_own_and_validation_whole_ones": [  # noqa: E501
            ("engine.step_random(settings.seed, step,", "engine.step_random(0, step,"),
            (
                "engine.step_random(settings.seed, step,",
                "engine.step_random(settings.seed, epoch,",
            ),
            (
                "views.random_view(images, view, random)",
                "views.whole_view(images, view.size)",
            ),
            (
                "views.whole_view(images, view.size)",
                "views.whole_view(images, view.whole_size)",
            ),
        ],
        PAGE: [
            ("batch_size: int = 32", "batch_size: int = 256"),
            ('= "adamw"', '= "sgd"'),
            ("epochs: int = 100", "epochs: int = 10"),
            ("learning_rate: float = 1e-3", "learning_rate: float = 1e-2"),
            ("weight_decay: float = 1e-1", "weight_decay: float = 1e-4"),
            ("warmup_epochs: float = 0.0", "warmup_epochs: float = 20.0"),
            ("epochs: int = 30", "epochs: int = 10"),
            ("batch_size: int = 24", "batch_size: int = 256"),
            ("weight_decay: float = 1e-2", "weight_decay: float = 1e-4"),
            ("warmup_epochs: float = 2.0", "warmup_epochs: float = 0.0"),
            ("scale=(0.3, 1.0), jitter=0.5", "scale=(0.3, 1.0), jitter=0.8"),
            ("scale=(0.3, 1.0), jitter=0.5", "scale=(0.08, 1.0), jitter=0.5"),
            ("label_smoothing: float = 0.0", "label_smoothing: float = 0.1"),
            ("validation: float = 0.1", "validation: float = 0.0"),
            ("backbone_scale: float = 1.0", "backbone_scale: float = 0.1"),
        ],
    },
}

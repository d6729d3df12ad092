"""Methods whose losses, heads, queues, targets or views are not what they should be."""

STEPS = (
    "methods/test_trajectories.py::test_ten_steps_leave_the_same_weights_and_buffers"
)
LAYOUT = "methods/test_layouts.py::test_heads_are_laid_out_as_the_authors_are"
LOSSES = "methods/test_losses.py"
VARIANTS = "methods/test_pirl_variants.py"
GAUGE = "methods/test_methods.py::test_the_gauge_sees_what_the_network_makes_of_the_first_view"  # noqa: E501

FAULTS = {
    "methods/byol.py": {
        "methods/test_byol.py::"
        "test_byol_compares_predictions_with_the_other_views_target": [
            (
                "regression(q_1, target_2) + regression(q_2, target_1)",
                "regression(q_1, target_1) + regression(q_2, target_2)",
            ),
            (
                "regression(q_1, target_2) + regression(q_2, target_1)",
                "regression(q_1, target_2)",
            ),
            (
                "q_1, q_2 = self.prediction_head(z_1), self.prediction_head(z_2)",
                "q_1, q_2 = z_1, z_2",
            ),
            ("= self.target(views[0]), self.target(views[1])", "= z_1, z_2"),
        ],
        "methods/test_byol.py::test_byols_regression_is_the_distance_of_unit_vectors": [
            ("return 2 - 2 * functional", "return 1 - functional"),
        ],
        "methods/test_byol.py::test_byols_target_moves_by_the_scheduled_momentum": [
            (
                "ema.momentum(self.options.target_momentum, progress)",
                "self.options.target_momentum",
            ),
        ],
        "methods/test_byol.py::test_byols_predictor_may_learn_faster": [
            ('"params": predictor, "scale": scale', '"params": predictor'),
        ],
        "methods/test_byol.py::test_byols_targets_can_be_standardized_over_the_batch": [
            ("(hidden, out, last, None)", "(hidden, out, None, None)"),
        ],
        f"{LAYOUT}[byol]": [
            ("nn.BatchNorm1d(hidden), nn.ReLU()", "None, nn.ReLU()"),
            (
                "BYOLPredictionHead(out, hidden, out)",
                "BYOLPredictionHead(out, out, out)",
            ),
        ],
        f"{GAUGE}[byol]": [
            ("self.embedding = z_1.detach()", "self.embedding = target_1"),
        ],
    },
    "methods/simsiam.py": {
        "methods/test_simsiam.py::"
        "test_simsiam_predicts_the_other_view_and_stops_the_gradient": [
            ("z_1.detach().float(), z_2.detach().float()", "z_1.float(), z_2.float()"),
            (
                "self.similarity(p_1, z_2) + self.similarity(p_2, z_1)",
                "self.similarity(p_1, z_1) + self.similarity(p_2, z_2)",
            ),
            ("self.similarity(p_2, z_1)) / 2", "self.similarity(p_2, z_1))"),
        ],
        "methods/test_simsiam.py::test_simsiams_predictor_keeps_its_learning_rate": [
            ('"params": predictor, "constant": True', '"params": predictor'),
            ('{"params": encoder}', '{"params": encoder, "constant": True}'),
        ],
        f"{LAYOUT}[simsiam]": [
            ("(out, middle, out)", "(out, out, out)"),
            (
                "backbone.feature_dim, hidden, out\n",
                "backbone.feature_dim, out // 4, out\n",
            ),
        ],
        f"{GAUGE}[simsiam]": [
            ("self.embedding = z_1", "self.embedding = p_1.detach()")
        ],
    },
    "methods/simclr.py": {
        f"{LAYOUT}[simclr]": [
            (
                "options.hidden_dim, options.output_dim\n",
                "options.hidden_dim, options.output_dim, batch_norm=False\n",
            ),
            ("feature_dim, options.hidden_dim,", "feature_dim, options.output_dim,"),
        ],
        "methods/test_simclr.py": [
            ("contrastive(z_1, z_2, index", "contrastive(z_1, z_1, index"),
            ("index, self.options.temperature)", "index, 0.1)"),
        ],
    },
    "methods/supcon.py": {
        "methods/test_supcon.py": [
            ("labels, -1 - index)  # (B,)\n", "labels, -1)  # (B,)\n"),
            ("labels, -1 - index)  # (B,)\n", "labels, index)  # (B,)\n"),
            (
                "super().loss(views, group, labels)",
                "super().loss(views, index, labels)",
            ),
            ("needs_labels = True", "needs_labels = False"),
        ],
    },
    "methods/swav.py": {
        "methods/test_swav.py::test_swav_predicts_the_codes_of_the_other_views": [
            (
                "progress >= self.options.queue_start",
                "progress < self.options.queue_start",
            ),
            (
                "self.swav(scores[:2], scores[2:], queued)",
                "self.swav(scores[:2], [], queued)",
            ),
            ("rounds = 3 ", "rounds = 1 "),
            ("SwaVLoss(tau, rounds, epsilon,", "SwaVLoss(tau, rounds, 0.1,"),
            ("SwaVLoss(tau, rounds, epsilon,", "SwaVLoss(0.1, rounds, epsilon,"),
            (
                "self.queue.share().unbind(dim=1)",
                "self.queue.share().flip(1).unbind(dim=1)",
            ),
        ],
        "methods/test_swav.py::"
        "test_swavs_prototypes_stand_still_at_first_and_gather_no_momentum": [
            ("progress < self.options.frozen", "False"),
            ("        self.prototypes.normalize()\n", ""),
            ("        self.prototypes.after_backward()\n", ""),
        ],
        "methods/test_swav.py::test_swavs_queue_takes_both_large_views": [
            ("        self.queue.push(self.large)\n", ""),
            ("torch.stack(z[:2], dim=1)", "torch.stack([z[0], z[0]], dim=1)"),
        ],
        "methods/test_swav.py::test_the_softest_and_the_hardest_codes_are_finite": [
            ("if not self.epsilon >= 0.02:", "if not self.epsilon > 0:"),
            (
                "[self.prototypes(view) - 1 for view in z], None",
                "[self.prototypes(view) + 1 for view in z], None",
            ),
        ],
        f"{LAYOUT}[swav]": [
            ("(width, options.hidden_dim, dim)", "(width, dim, dim)"),
            ("Prototypes(dim, options.prototypes)", "Prototypes(dim, dim)"),
        ],
        f"{STEPS}[swav]": [
            ("z = memory.unit(z).chunk(len(views))", "z = z.chunk(len(views))"),
        ],
    },
    "methods/moco.py": {
        "methods/test_moco.py::test_mocos_queue_takes_the_keys_after_the_step": [
            (
                "self.keys = [memory.unit(self.shuffled(view)) for view in views]",
                "self.keys = [memory.unit(self.online(view)) for view in views]",
            ),
            ("for keys in self.keys:", "for keys in self.keys[:1]:"),
            ("for keys in self.keys:", "for keys in self.keys[::-1]:"),
            ("(self.target, self.online, self", "(self.online, self.target, self"),
            ("self.options.target_momentum)", "0.99)"),
        ],
        "methods/test_moco.py::test_moco_picks_the_key_among_the_queue": [
            (
                "self.pick(q_1, k_2) + self.pick(q_2, k_1)",
                "self.pick(q_1, k_1) + self.pick(q_2, k_2)",
            ),
            ("logits = scores / self.options.temperature", "logits = scores / 0.1"),
            (
                "dim=1)  # (B, 1 + K)\n            logits",
                "dim=1)[:, :-1]\n            logits",
            ),
        ],
        "methods/test_moco.py::test_batchnorm_sees_queries_in_groups_and_keys_in_others": [  # noqa: E501
            (
                "keys = self.target(view[order])",
                "return self.target(view)\n        keys = None",
            ),
            (
                "return torch.empty_like(keys).index_copy_(0, order, keys)",
                "return keys",
            ),
            ("            split_batch_norm(self.online, self.groups_here)\n", ""),
        ],
        "methods/test_moco.py::"
        "test_every_process_splits_its_share_into_two_groups_or_more": [
            ("max(2, options.bn_splits // dist.world_size())", "options.bn_splits"),
            ("max(2, options", "max(1, options"),
        ],
        "methods/test_moco.py::"
        "test_groups_leave_evaluation_and_the_names_of_weights_as_they_are": [
            ("torch.stack(after).mean(dim=0)", "after[-1]"),
            ("if not self.training:", "if False:"),
        ],
        "methods/test_moco.py::test_groups_keep_what_a_backbone_has_learned_before": [
            ("        self.load_state_dict(norm.state_dict())\n", ""),
        ],
        f"{LAYOUT}[moco]": [
            ("feature_dim, options.hidden_dim,", "feature_dim, options.output_dim,"),
        ],
    },
    "methods/barlow_twins.py": {
        f"{LAYOUT}[barlow_twins]": [
            ("        self.projection_head.layers[-1].bias = None", "        #"),
            ("options.hidden_dim, options.output_dim", "512, options.output_dim"),
        ],
        "methods/test_barlow_twins.py": [
            ("BarlowTwinsLoss(self.options.redundancy)", "BarlowTwinsLoss()"),
            ("return self.criterion(z_1, z_2)", "return self.criterion(z_1, z_1)"),
        ],
    },
    "methods/vicreg.py": {
        "methods/test_vicreg.py": [
            (
                "options.invariance, options.variance, options.covariance",
                "options.variance, options.invariance, options.covariance",
            ),
            ("options.variance, options.covariance\n", "options.variance\n"),
        ],
    },
    "methods/dino.py": {
        "methods/test_dino.py::test_dino_agrees_with_the_centred_teacher": [
            (
                "            teacher = self.teacher(torch.cat(views[:2]))",
                "            teacher = self.student(torch.cat(views[:2]))",
            ),
            (
                "self.dino(teacher, student, self.temperature)",
                "self.dino(teacher, student, 0.04)",
            ),
            (
                "self.dino(teacher, student, self.temperature)",
                "self.dino(teacher, student[:2], self.temperature)",
            ),
        ],
        "methods/test_dino.py::test_dinos_teacher_follows_and_its_temperature_climbs": [
            ("min(1.0, progress / 0.3)", "min(1.0, progress)"),
            ("start + (end - start) * min", "end + (start - end) * min"),
            (
                "ema.momentum(self.options.target_momentum, progress)",
                "self.options.target_momentum",
            ),
            (
                "ema.follow(self.teacher, self.student",
                "ema.follow(self.student, self.teacher",
            ),
        ],
        "methods/test_dino.py::test_dinos_directions_stand_still_at_first": [
            ("= progress < self.options.frozen", "= progress <= self.options.frozen"),
            ("        self.projection_head[-1].after_backward()\n", ""),
        ],
        "methods/test_dino.py::test_only_the_directions_of_dinos_last_layer_count": [
            (
                "memory.unit(features) @ memory.unit(self.weight).T",
                "memory.unit(features) @ self.weight.T",
            ),
        ],
        "methods/test_dino.py::test_dinos_head_starts_as_the_authors_does": [
            (".apply(initialize)", ""),
            ("nn.init.zeros_(layer.bias)", "pass"),
        ],
        "methods/test_dino.py::test_the_teacher_or_the_student_is_scored_and_saved": [
            (
                'if self.options.result == "teacher"',
                'if self.options.result == "student"',
            ),
        ],
        f"{LAYOUT}[dino]": [
            ("nn.BatchNorm1d(hidden), nn.GELU()", "nn.BatchNorm1d(hidden), nn.ReLU()"),
            ("(hidden, hidden)]", "]"),
            ("Directions(256, options.output_dim)", "Directions(256, 512)"),
        ],
        f"{GAUGE}[dino]": [
            ("self.embedding = student[0].detach()", "self.embedding = teacher[0]"),
        ],
    },
    "methods/pirl.py": {
        "methods/test_pirl.py::"
        "test_jigsaws_have_the_crop_and_the_blur_of_their_own_options": [
            ("(images, options.patch_view, random", "(images, options.view, random"),
            ("random, **options.cut)", "random)"),
        ],
        "methods/test_pirl.py::test_drawn_negatives_are_what_the_loss_compares_with": [
            ("few = self.options.negatives > 0", "few = False"),
            ("self.options.temperature  # (N, d)", "0.2  # (N, d)"),
        ],
        "methods/test_pirl.py::"
        "test_negatives_are_drawn_anew_for_every_image_and_step": [
            ("* (self.count - 1)", "* self.count"),
        ],
        "methods/test_pirl.py::test_the_backbone_learns_from_either_term": [
            ("for q in (g, f))", "for q in (f, g))"),
        ],
        "methods/test_pirl.py::test_the_bank_is_filled_before_the_first_step": [
            (
                "self.bank.fill(index, self.f(image))",
                "self.bank.update(index, self.f(image))",
            ),
            (
                "(images, self.options.view.size)",
                "(images, 2 * self.options.view.size)",
            ),
        ],
        "methods/test_pirl.py::test_image_and_jigsaw_have_heads_of_their_own": [
            (
                "self.patch_head = base.mlp(width, hidden, d)",
                "self.patch_head = self.image_head",
            ),
        ],
        f"{VARIANTS}::test_the_bank_learns_f_once_and_only_after_the_step": [
            (
                "self.embedding = index, f.detach()",
                "self.embedding = index, g.detach()",
            ),
            ("        self.bank.update(self.index, self.embedding)\n", ""),
            ("options.output_dim, options.bank_momentum)", "options.output_dim, 0.9)"),
        ],
        f"{STEPS}[pirl]": [
            (
                "self.options.weight * pretext + (1 - self.options.weight) * itself",
                "(1 - self.options.weight) * pretext + self.options.weight * itself",
            ),
        ],
    },
    "methods/pirl_variants.py": {
        f"{VARIANTS}::test_jigsaws_have_the_crop_and_the_blur_of_their_own_options": [
            (
                "view, cut = options.patch_view, options.cut",
                "view, cut = options.view, options.cut",
            ),
            ("view, random, **cut)", "view, random)"),
        ],
        f"{VARIANTS}::test_the_heads_have_the_published_shapes": [
            ('if options.head == "vissl_mlp":', "if False:"),
            ("nn.ReLU(inplace=True), last)", "last)"),
        ],
        f"{VARIANTS}::test_the_loss_weighs_its_terms": [
            ("for one in q) / len(q)", "for one in q)"),
        ],
        f"{LOSSES}::test_z_is_that_of_the_first_batch_and_is_kept": [
            ("torch.where(self.log_z.isinf(), guess, self.log_z)", "guess"),
            (
                "math.log((logits.shape[1] - 1) / self.count)",
                "math.log(logits.shape[1] / self.count)",
            ),
        ],
        f"{LOSSES}::test_a_negative_that_is_far_ahead_is_still_pushed_away": [
            ("rejected.scatter(1, first, rest - every)", "rejected"),
        ],
        f"{LOSSES}::test_the_loss_equals_the_naive_double_loop": [
            ("loss - rejected.sum(dim=1)", "loss + rejected.sum(dim=1)"),
            (
                "u − log σ(u).\n        loss = functional.softplus(u)",
                "u − log σ(u).\n        loss = functional.softplus(-u)",
            ),
        ],
        f"{VARIANTS}::test_distances_are_those_of_unit_features": [
            ("f, g = memory.unit(self.f(image)), self", "f, g = self.f(image), self"),
        ],
    },
}

"""Networks, features and files that are not what they should be."""

NEAREST = "models/test_nearest_neighbors.py"
ENCODING = "models/test_encoding.py"
HEADS = "models/test_heads.py"
BACKBONES = "models/test_backbones.py"
FILES = "models/test_weight_files.py"
CLASSIFIERS = "models/test_classifier_files.py"

FAULTS = {
    "models/encoding.py": {
        f"{ENCODING}::test_a_classifiers_outputs_are_its_logits_image_by_image": [
            ("hardware.to_device(network).eval()", "hardware.to_device(network)"),
        ],
        f"{ENCODING}::test_encoding_leaves_the_backbone_as_it_was": [
            ("    network.train(was_training)\n", ""),
            ("@torch.no_grad()\n", ""),
        ],
        f"{ENCODING}::test_encoding_sees_whole_normalised_images_in_batches": [
            (
                "views.whole_view(batch, image_size)",
                "views.whole_view(batch, image_size + 4)",
            ),
            ("views.whole_view(batch, image_size)", "batch / 255"),
        ],
    },
    "models/nearest_neighbors.py": {
        "notebook/test_inspection.py::test_no_image_votes_for_itself": [
            (
                "features, labels, features, leave_one_out=True",
                "features, labels, features",
            ),
        ],
        "evaluation/test_protocols.py::test_twenty_neighbours_vote": [
            ("k: int = 20", "k: int = 200"),
            ("temperature: float = 0.1", "temperature: float = 0.07"),
        ],
        f"{NEAREST}::test_knn_equals_a_naive_loop": [
            ("keys = functional.normalize(features, dim=1)", "keys = features"),
            ("(nearest / temperature).exp()", "nearest / temperature"),
            ("(nearest / temperature).exp()", "torch.ones_like(nearest)"),
            (
                "min(k, len(keys) - leave_one_out)",
                "min(k + 1, len(keys) - leave_one_out)",
            ),
        ],
        f"{NEAREST}::test_nobody_is_a_neighbour_of_itself_when_left_out": [
            ("similarity[rows, rows + start]", "similarity[rows, rows]"),
        ],
        f"{NEAREST}::test_neighbours_are_the_most_similar_others": [
            ("    similarity.fill_diagonal_(-torch.inf)\n", ""),
        ],
        f"{NEAREST}::test_the_accuracy_is_the_share_in_percent": [
            ("return 100 * (votes", "return (votes"),
        ],
        f"{NEAREST}::test_the_accuracy_lets_no_image_vote_for_itself": [
            ("features, leave_one_out=True)", "features)"),
        ],
        f"{NEAREST}::test_the_accuracy_encodes_no_more_images_than_it_may": [
            ("some = evenly_spaced(labelled, max_images)", "some = labelled"),
        ],
    },
    "models/heads.py": {
        f"{HEADS}::test_standardising_has_nothing_to_learn": [
            (
                "nn.BatchNorm1d(backbone.feature_dim, affine=False)",
                "nn.BatchNorm1d(backbone.feature_dim)",
            ),
        ],
        f"{HEADS}::test_the_logits_are_those_of_the_standardised_features": [
            ("self.head(self.standardize(features))", "self.head(features)"),
        ],
        f"{HEADS}::test_the_mlp_has_a_hidden_layer_of_128": [
            ("hidden: int = 128", "hidden: int = 512"),
            ("            nn.ReLU(inplace=True),\n", ""),
        ],
    },
    "models/backbones.py": {
        f"{BACKBONES}::test_the_stem_decides_how_fine_the_first_layer_sees": [
            ("3, stride=1, padding=1", "3, stride=2, padding=1"),
            ('if stem == "small":', "if False:"),
            ('if stem != "imagenet":', 'if stem == "small":'),
        ],
        f"{BACKBONES}::test_group_normalisation_knows_nothing_of_the_rest_of_the_batch": [  # noqa: E501
            ("functools.partial(nn.GroupNorm, 8)", "nn.BatchNorm2d"),
        ],
        f"{BACKBONES}::test_every_width_of_resnet50w2_is_twice_that_of_resnet50": [
            ("_make_layer(block, 2 * planes,", "_make_layer(block, planes,"),
        ],
        f"{BACKBONES}::test_images_that_are_too_small_are_one_sentence": [
            ("    if side < smallest:\n", "    if False:\n"),
        ],
        f"{BACKBONES}::test_another_stem_starts_as_torchvision_starts_its_convolutions": [  # noqa: E501
            (
                "            nn.init.kaiming_normal_(network.conv1.weight, "
                'mode="fan_out")\n',
                "",
            ),
        ],
    },
    "models/weight_files.py": {
        f"{FILES}::test_weights_that_do_not_fit_are_refused": [
            ("    if missing or unknown:\n", "    if False:\n"),
        ],
        f"{FILES}::test_weights_that_are_no_numbers_are_not_loaded": [
            ("    check_weights(tensors, str(path))\n", ""),
        ],
        f"{FILES}::test_a_backbone_comes_back_with_its_story": [
            ('metadata = {"about": json.dumps(dict(about))}', "metadata = {}"),
            ("    backbone.load_state_dict(tensors)\n", ""),
        ],
        f"{FILES}::test_backbones_are_found_newest_first_and_damaged_ones_named": [
            ("-one[0].stat().st_mtime", "one[0].stat().st_mtime"),
            ("of_runs.setdefault(file.parent.name, ", "of_runs.setdefault(file, "),
        ],
        f"{FILES}::test_a_training_starts_from_the_weights_of_a_file": [
            (
                "    backbone.load_state_dict(load_backbone(weights)[0].state_dict())\n",  # noqa: E501
                "",
            ),
        ],
        f"{FILES}::test_initial_weights_that_cannot_be_are_one_sentence": [
            ("    if own != asked:\n", "    if False:\n"),
        ],
        f"{FILES}::test_control_characters_do_not_reach_a_terminal": [
            ('return files.printable(", ".join(parts))', 'return ", ".join(parts)'),
        ],
        "notebook/test_choices.py::"
        "test_what_was_released_is_the_default_until_there_is_something_of_ones_own": [
            ('-(one[1].get("knn") or 0)', 'one[1].get("knn") or 0'),
        ],
        f"{FILES}::test_metadata_that_cannot_be_right_is_one_sentence": [
            ("        _check_about(about)\n", ""),
        ],
    },
    "models/classifier_files.py": {
        f"{CLASSIFIERS}::test_another_normalisation_is_refused": [
            ("        if about[key] != expected:\n", "        if False:\n"),
        ],
        f"{CLASSIFIERS}::test_a_head_on_frozen_features_keeps_its_standardisation": [
            ("running_var.copy_(std.double().square())", "running_var.copy_(std)"),
            ("standardize.eps = 1e-30", "standardize.eps = 1e-5"),
            ("    classifier.standardize.running_mean.copy_(mean)\n", ""),
        ],
        f"{CLASSIFIERS}::test_a_loaded_classifier_says_what_the_saved_one_said": [
            ("return classifier.eval(), about", "return classifier, about"),
        ],
        f"{CLASSIFIERS}::test_weights_that_are_not_numbers_are_refused": [
            ("    weight_files.check_weights(tensors, path.name)\n", ""),
        ],
    },
    "models/model_card.py": {
        "models/test_model_card.py": [
            ("mean = {list(views.MEAN)}", "mean = {list(views.STD)}"),
            ('[about, about.get("pretraining") or {}]', "[about]"),
            ("if not terms or None in terms else", "if not terms else"),
            ('if one.get("init", "random") != "random"', "if False"),
        ],
        "models/test_model_card.py::test_names_cannot_break_the_page": [
            ('for sign in "\\\\`*_|<>[]":', 'for sign in "\\\\`*_|[]":'),
            ("sign if sign.isprintable() else", "sign if True else"),
        ],
    },
}

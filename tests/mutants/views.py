"""Crops, flips, blurs and colours that are not what they are said to be."""

VIEWS = "views/test_views.py"
COLORS = "views/test_colors.py"
GEOMETRY = "views/test_geometry.py"
DRAWS = "views/test_randomness.py"
SETTINGS = "views/test_view_settings.py"

FAULTS = {
    "views/__init__.py": {
        f"{VIEWS}::test_pixels_are_normalised_as_torchvisions_weights_want_them": [
            ("MEAN = (0.485, 0.456, 0.406)", "MEAN = (0.5, 0.5, 0.5)"),
            ("MEAN = (0.485, 0.456, 0.406)", "MEAN = (0.406, 0.456, 0.485)"),
            ("STD = (0.229, 0.224, 0.225)", "STD = (0.229, 0.224, 0.229)"),
        ],
        f"{VIEWS}::test_the_whole_view_is_torchvisions_resize_normalised": [
            ("return pixels.sub(mean).div_(std)", "return pixels.sub(mean)"),
            ("zero + height, height, size)", "zero + height - 1, height, size)"),
        ],
        f"{VIEWS}::test_normalising_can_be_undone": [
            ("(views * std + mean).clamp(0, 1)", "(views * std).clamp(0, 1)"),
        ],
        f"{VIEWS}::test_changes_happen_as_often_as_asked": [
            ("settings.size, draws, settings.flip)", "settings.size, draws, 0.5)"),
        ],
        f"{VIEWS}::test_a_blurred_view_is_blurred_along_rows_and_columns_once": [
            (
                "rows, columns = blur @ rows, blur @ columns",
                "rows, columns = blur @ rows, columns",
            ),
            (
                "rows, columns = blur @ rows, blur @ columns",
                "rows, columns = blur @ blur @ rows, blur @ columns",
            ),
        ],
        f"{VIEWS}::test_solarizing_inverts_what_is_bright": [
            ("(flat >= 0.5), 1 - flat", "(flat >= 0.5), flat"),
            ("chosen & (flat >= 0.5)", "chosen & (flat >= 0.6)"),
            ("chosen & (flat >= 0.5)", "(flat >= 0.5)"),
        ],
        f"{VIEWS}::test_grey_comes_after_the_photometric_distortion": [
            (
                "        pixels = colors.drop(pixels, settings.grayscale, draws)\n",
                "        draws.skip(*groups)\n",
            ),
        ],
        f"{COLORS}::test_views_and_patches_are_distorted_as_often_as_asked": [
            (
                "colors.photometric(pixels, settings.photometric, draws)",
                "colors.photometric(pixels, 1.0, draws)",
            ),
        ],
        f"{VIEWS}::test_a_view_is_turned_by_quarters_each_equally_often": [
            ("for turn in (1, 2, 3):", "for turn in (1, 2):"),
            ("(random.table(1) * 4)", "(random.table(1) * 3)"),
        ],
        f"{VIEWS}::test_patches_lie_anywhere_in_their_cells_and_cover_the_crop": [
            ("max(1, cell - patch)", "max(1, cell - patch + 1)"),
            ("* max(1, cell - patch)).long()", "* 0).long()"),
            ("x = (order % grid) * cell", "x = (order // grid) * cell"),
            (
                ".argsort(dim=1)  # (B, count)",
                ".argsort(dim=1).sort(dim=1).values  # (B, count)",
            ),
        ],
        f"{VIEWS}::test_patches_are_flipped_one_by_one": [
            (
                "draws.chance(settings.flip, count)[..., None]",
                "draws.chance(settings.flip, count)[:, :1, None]",
            ),
            ("torch.where(flip, span.flip(0), span)", "torch.where(flip, span, span)"),
        ],
        f"{VIEWS}::test_every_patch_has_its_own_blur": [
            ("patches = blur @ patches @ blur.mT", "patches = blur @ patches"),
        ],
        f"{VIEWS}::test_random_numbers_for_another_batch_are_an_error": [
            ("if len(images) != len(table):", "if False:"),
        ],
        f"{VIEWS}::test_a_table_of_another_width_is_an_error": [
            ("        draws.check_all_used()\n", ""),
        ],
        f"{VIEWS}::test_the_numbers_of_a_seed_stay_as_they_were": [
            ("PATCH_DRAWS = 1 + 2 + 1", "PATCH_DRAWS = 1 + 2 + 2"),
        ],
        f"{VIEWS}::test_crops_have_the_share_of_the_image_that_was_asked_for": [
            (
                "random_crops(height, width, settings.scale, draws)",
                "random_crops(height, width, (0.2, 1.0), draws)",
            ),
        ],
    },
    "views/colors.py": {
        f"{COLORS}::test_grayscale_equals_torchvisions_and_follows_the_other_changes": [
            ("GRAY = (0.299, 0.587, 0.114)", "GRAY = (0.333, 0.333, 0.334)"),
            ("gray.expand(3, 3) @ last, last)", "gray.expand(3, 3), last)"),
        ],
        f"{COLORS}::test_strengths_are_drawn_as_torchvision_draws_them": [
            ("reshape(count, 4) * 2 - 1) * strength", "reshape(count, 4)) * strength"),
            ("(*strengths, settings.hue)", "(*strengths, 2 * settings.hue)"),
        ],
        f"{COLORS}::test_changes_come_in_the_drawn_order": [
            ("[:, :HUE].argsort(dim=1)", "[:, :HUE].argsort(dim=1).sort(dim=1).values"),
            ("mean = (pixels.mean(dim=2) @ gray)[:, None, None]", "mean = 0.5"),
        ],
        f"{COLORS}::test_one_change_equals_torchvisions": [
            (
                "(1 - factor) * (chosen == SATURATION)",
                "(1 - factor) * (chosen == CONTRAST)",
            ),
            (
                "BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)",
                "CONTRAST, BRIGHTNESS, SATURATION, HUE = range(4)",
            ),
        ],
        f"{COLORS}::test_chances_leave_images_alone": [
            ("draws.chance(settings.jitter, *groups)", "draws.chance(1.0, *groups)"),
        ],
        f"{COLORS}::test_a_turn_of_the_hue_equals_torchvisions_on_photographs": [
            ("torch.remainder(6 * turn", "torch.remainder(6 * 1.4 * turn"),
            ("(0, 2, -2), strict", "(0, -2, 2), strict"),
        ],
        f"{COLORS}::test_every_picture_has_a_turn_of_its_own_and_grey_stays": [
            ("ahead[:, None]).abs_()", "ahead[:1, None]).abs_()"),
        ],
        f"{COLORS}::"
        "test_views_of_photographs_are_as_colourful_and_as_clipped_as_torchvisions": [
            (
                "(towards * mean, change, pixels).clamp_(0, 1)",
                "(towards * mean, change, pixels)",
            ),
        ],
        f"{COLORS}::test_all_four_are_done_in_their_order_or_none": [
            ("4 + (5 * bits).floor()", "3 + (5 * bits).floor()"),
            ("0.1 + 1.8 * sharpness", "0.1 + 0.9 * sharpness"),
            ("(257 * threshold).floor()", "(128 + 128 * threshold).floor()"),
            ("    distorted = stretch(distorted)\n", ""),
            ("torch.where(bright, 1 - distorted, distorted)", "distorted"),
            (
                "torch.where(chance < probability, distorted",
                "torch.where(chance < 0.5, distorted",
            ),
        ],
        f"{COLORS}::test_sharpen_equals_torchvision": [
            ("kernel[..., 1, 1] = 5", "kernel[..., 1, 1] = 1"),
        ],
    },
    "views/geometry.py": {
        f"{GEOMETRY}::test_crops_are_distributed_as_torchvisions": [
            ("math.log(4 / 3)", "math.log(2)"),
            ("TRIES = 10 ", "TRIES = 1 "),
            ("(scale[1] - scale[0]) * tries", "(scale[1] - scale[0]) * tries.square()"),
            ("(height - tall + 1)).floor()", "(height - tall)).floor()"),
        ],
        f"{GEOMETRY}::test_a_crop_that_never_fits_is_torchvisions_part_of_the_middle": [
            ("float((height - tallest) // 2)", "0.0"),
            ("min(width, round(height * 4 / 3))", "width"),
        ],
        f"{GEOMETRY}::test_crop_and_resize_equal_torchvision": [
            ("(number + 0.5) * step - 0.5", "number * step"),
            ("step.clamp(min=1.0)", "step.clamp(min=1.0, max=1.0)"),
        ],
        f"{GEOMETRY}::test_every_row_is_a_mean_of_pixels_inside_the_crop": [
            (".mul_(inside[:, None, :].float())", ""),
            ("weights.div_(weights.sum(dim=-1, keepdim=True))", "weights"),
        ],
        f"{GEOMETRY}::test_blur_equals_torchvision_inside_and_keeps_what_is_not_drawn": [  # noqa: E501
            (
                "torch.exp(-0.5 * (pixel / sigma) ** 2)",
                "torch.exp(-((pixel / sigma) ** 2))",
            ),
            ("torch.where(blurred, weight, (pixel == 0).float())", "weight"),
        ],
        f"{GEOMETRY}::test_blurs_are_as_strong_and_as_frequent_as_asked": [
            ("low=low, high=high)", "low=low, high=low)"),
            ("low=low, high=high)", "low=0.1, high=2.0)"),
            ("draws.chance(settings.blur, *groups)", "draws.chance(0.5, *groups)"),
        ],
        f"{VIEWS}::test_a_flip_mirrors_the_columns": [
            (
                "torch.where(flip, number.flip(0), number)",
                "number.expand(len(start), -1)",
            ),
        ],
    },
    "views/randomness.py": {
        f"{DRAWS}::test_the_same_step_draws_the_same_and_others_do_not": [
            ("step * 7_919 + 17", "17"),
            ("(seed * 1_000_003 + step", "(step"),
        ],
        f"{DRAWS}::test_processes_share_the_tables_of_one": [
            ("slice(rank * share, (rank + 1) * share)", "slice(0, share)"),
        ],
        f"{DRAWS}::test_draws_hand_out_columns_once_each": [
            ("taken * (high - low) + low", "taken * high + low"),
            ("self.table[:, start : self.used]", "self.table[:, : self.used - start]"),
        ],
    },
    "views/settings.py": {
        f"{SETTINGS}::test_whole_images_are_shown_a_third_larger_in_steps_of_eight": [
            ("round(self.size * 4 / 3 / 8)", "round(self.size / 8)"),
        ],
        f"{SETTINGS}::test_a_wrong_value_is_one_sentence_with_name_range_and_value": [
            ("_is_number(self.hue, 0.5)", "_is_number(self.hue, 1)"),
            ("and 0 < smaller <= larger", "and 0 <= smaller <= larger"),
        ],
    },
}

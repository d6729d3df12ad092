"""What methods share: losses, banks, queues, slow copies and views that are others."""

LAYOUT = "methods/test_layouts.py::test_heads_are_laid_out_as_the_authors_are"
LOSSES = "methods/test_losses.py"
MEMORY = "methods/test_memory.py"
BASE = "methods/test_base.py"
TRAINABLE = (
    "methods/test_methods.py::"
    "test_every_trainable_weight_gets_a_gradient_and_is_optimized_once"
)

FAULTS = {
    "methods/base.py": {
        f"{LAYOUT}[pirl]": [
            ("nn.Linear(width, hidden, bias=False)", "nn.Linear(width, hidden)"),
            ("nn.BatchNorm1d(hidden),", "nn.Identity(),"),
        ],
        f"{BASE}::test_features_of_several_sizes_come_in_order_one_forward_a_size": [
            ("for _, group in groups])", "for _, group in groups][::-1])"),
            ("key=lambda view: view.shape[-1]", "key=id"),
        ],
        f"{BASE}::test_views_may_be_asymmetric_as_in_byols_paper": [
            ("blur=1.0, solarize=0.0", "blur=0.5, solarize=0.0"),
            ("blur=0.1, solarize=0.2", "blur=0.1, solarize=0.0"),
            ("if not self.asymmetric:", "if self.asymmetric:"),
        ],
        f"{BASE}::test_small_views_come_after_the_large_ones": [
            ("size=self.small_size, scale=self.small_scale", "size=self.small_size"),
            ("range(self.small_views)", "range(self.small_views + 1)"),
            (
                "groupby(self.options.every_view)",
                "groupby([self.options.view] * 6)",
            ),
        ],
        f"{BASE}::test_the_two_views_are_drawn_apart": [
            (
                "views.random_views(images, view, random, len(list(same)))",
                "views.random_views(images, view, random, 1) * len(list(same))",
            ),
        ],
        f"{BASE}::test_patches_are_cropped_and_blurred_by_options_of_their_own": [
            ("scale=self.patch_scale, blur=self.patch_blur", "blur=self.patch_blur"),
            ("scale=self.patch_scale, blur=self.patch_blur", "scale=self.patch_scale"),
        ],
        f"{BASE}::test_cells_and_patches_follow_the_size_of_the_images": [
            ("3 * self.view.size // 2 // self.grid", "self.view.size // self.grid"),
            ("self.patch or 3 * cell // 4", "3 * cell // 4"),
            ('min(self.view.size, self.cut["patch"])', "self.view.size"),
        ],
        "training/test_sessions.py::"
        "test_views_grow_in_the_middle_of_a_run_that_is_stopped_there[byol]": [
            ("self.options = dataclasses.replace(self.options, view=view)", "pass"),
        ],
        f"{TRAINABLE}[simclr]": [
            (
                '[{"params": parameters(self)}]',
                '[{"params": parameters(self.backbone)}]',
            ),
        ],
    },
    "methods/losses.py": {
        f"{LOSSES}::test_the_loss_equals_the_naive_double_loop": [
            ("(query * m[i]).sum", "(query * m[i.roll(1)]).sum"),
            ("query = memory.unit(q) / temperature", "query = memory.unit(q) * 2"),
            ("return every, i\n", "return every, i.roll(1)\n"),
        ],
        f"{LOSSES}::test_an_image_is_never_among_its_own_negatives": [
            ("(uniform >= own[:, None])", "(uniform > own[:, None])"),
            ("uniform + (uniform >= own[:, None])", "uniform"),
        ],
        f"{LOSSES}::test_the_length_of_the_query_does_not_matter": [
            ("(memory.unit(q) / temperature) @ m.T", "(q / temperature) @ m.T"),
        ],
        f"{LOSSES}::test_the_scores_are_those_of_the_candidates": [
            ("torch.cat([i[:, None], negatives]", "torch.cat([negatives, i[:, None]]"),
        ],
        f"{LOSSES}::test_contrastive_equals_the_naive_double_loop": [
            (") & ~itself  # (2B, M)", ")  # (2B, M)"),
            ("log_h.sum(dim=1) / positive.sum(dim=1)", "log_h.sum(dim=1)"),
            (".masked_fill(itself, -torch.inf)", ""),
            ("z / temperature @ every.T", "z @ every.T"),
        ],
        f"{LOSSES}::test_parts_of_the_bank_add_up": [
            ("total = rescale * total +", "total = total +"),
            ("weighted_sum = rescale * weighted_sum", "weighted_sum = weighted_sum"),
        ],
        f"{LOSSES}::test_sixteen_bits_do_not_round_what_an_easy_query_learns": [
            ("weighted_sum = m[i]", "weighted_sum = m[i].to(dtype).to(q.dtype)"),
        ],
        f"{LOSSES}::test_the_gradient_equals_finite_differences": [
            ("return slope[:, None] * mean, None", "return mean, None"),
        ],
        f"{LOSSES}::test_similarities_are_not_rounded_by_mixed_precision": [
            (
                "with memory.full_precision(z_1):\n        z = ",
                "if True:\n        z = ",
            ),
        ],
    },
    "methods/memory.py": {
        f"{MEMORY}::test_the_bank_is_the_running_mean_of_what_was_seen": [
            ("new = functional.normalize(features, dim=1)", "new = features"),
            ("= functional.normalize(mixed, dim=1)", "= mixed"),
        ],
        f"{MEMORY}::test_the_momentum_says_how_much_of_the_old_entry_stays": [
            (
                "self.momentum * self.entries[index] + (1 - self.momentum) * new",
                "(1 - self.momentum) * self.entries[index] + self.momentum * new",
            ),
        ],
        f"{MEMORY}::test_filling_replaces_entries_and_the_state_keeps_them": [
            ("= functional.normalize(features.float(), dim=1)", "= features"),
        ],
        f"{MEMORY}::test_an_entry_is_as_old_as_the_updates_since_its_own": [
            ("        self.updates += 1\n", ""),
            ('"updated", torch.zeros', '"updated", torch.ones'),
        ],
        f"{MEMORY}::test_neighbors_are_the_nearest_entries_of_other_images": [
            ("        similarity.scatter_(1, index[:, None], -torch.inf)\n", ""),
        ],
        f"{MEMORY}::test_the_queue_lets_the_oldest_go_first": [
            ("new[: len(self.entries)]", "new[-len(self.entries) :]"),
            (
                "torch.cat([gather(features.float()), self.entries])",
                "torch.cat([gather(features.float()).flip(0), self.entries])",
            ),
        ],
        f"{MEMORY}::test_the_shares_of_all_processes_are_the_queue": [
            ("(dist.world_size())[dist.rank()]", "(dist.world_size())[0]"),
        ],
        f"{MEMORY}::test_frozen_prototypes_have_no_gradient": [
            ("if self.frozen:", "if not self.frozen:"),
        ],
        f"{MEMORY}::test_prototypes_give_products_and_return_to_norm_one": [
            ("self.weight.copy_(unit(self.weight))", "pass"),
            (
                "nn.Parameter(unit(torch.randn(count, dim)))",
                "nn.Parameter(torch.randn(count, dim))",
            ),
            (
                "return unit(features) @ self.weight.T",
                "return features @ self.weight.T",
            ),
        ],
        f"{MEMORY}::test_similarities_are_not_rounded_by_mixed_precision": [
            (
                "torch.autocast(tensor.device.type, enabled=False)",
                "contextlib.nullcontext()",
            ),
        ],
        "training/test_several_processes.py::test_the_bank_learns_of_all_processes": [
            (
                "index, features = gather(index), gather(features.float())",
                "features = features.float()",
            ),
        ],
        f"{MEMORY}::test_averages_are_those_of_all_processes": [
            ("(flat / dist.world_size())", "flat"),
            ("            tensor.copy_(part.view_as(tensor))\n", "            pass\n"),
        ],
    },
    "methods/ema.py": {
        "methods/test_ema.py::test_a_copy_shares_nothing_and_gets_no_gradient": [
            ("copy.deepcopy(network).requires_grad_(False)", "copy.deepcopy(network)"),
            ("copy.deepcopy(network).requires_grad_(False)", "network"),
        ],
        "methods/test_ema.py::test_it_follows_by_the_momentum": [
            ("leaders, 1 - momentum)", "leaders, momentum)"),
            ("(followers, leaders,", "(leaders, followers,"),
        ],
        "methods/test_ema.py::test_the_momentum_climbs_to_one_along_a_cosine": [
            (
                "math.cos(math.pi * progress) + 1",
                "math.cos(math.pi * progress / 2) + 1",
            ),
            ("1 - (1 - start) * (math", "1 - start * (math"),
        ],
    },
}

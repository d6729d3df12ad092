"""Every method's training step once more: in float64, one image at a time.

Nothing of ``helpers`` computes here but the layers of the networks, which are copied.
What a method compares, what it remembers and how weights move is written out in loops,
after the papers. Gradients are autograd's.
"""

import copy
import math

import torch


def norm_one(features):
    """Rows divided by their lengths."""
    return torch.stack([row / row.square().sum().sqrt() for row in features])


def cosine(one, other):
    return (one * other).sum() / one.square().sum().sqrt() / other.square().sum().sqrt()


def log_softmax(scores):
    """Of a list of numbers with gradients."""
    total = sum(score.exp() for score in scores).log()
    return [score - total for score in scores]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


class Naive:
    """A copy of a method in float64 that trains itself.

    Args:
        method: is copied, not changed.
        rate: learning rate of SGD with momentum 0.9.
        decay: of weights with two dimensions or more.
    """

    momentum = 0.9

    def __init__(self, method, rate, decay):
        self.it = copy.deepcopy(method).double()
        self.options, self.rate, self.decay = method.options, rate, decay
        learned = [w for w in self.it.parameters() if w.requires_grad]
        self.velocity = {w: torch.zeros_like(w) for w in learned}
        self.begin()

    def begin(self):
        """Before the first step."""

    def step(self, views, index, labels, progress, after, factor):
        """Loss, gradients, SGD, and what follows the step; views are float64."""
        self.before(progress)
        loss = self.loss(views, index, labels)
        weights = list(self.velocity)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        scale = self.scales(factor)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is None or self.is_frozen(weight):
                    continue
                decay = self.decay if weight.ndim > 1 else 0.0
                v = self.momentum * self.velocity[weight] + gradient + decay * weight
                self.velocity[weight] = v
                weight -= self.rate * scale.get(weight, factor) * v
            self.after(index, after)
        return loss.item()

    def scales(self, factor):
        """Factors on the rate of weights whose rate is not the schedule's."""
        return {}

    def is_frozen(self, weight):
        return False

    def before(self, progress):
        """Before a step."""

    def after(self, index, progress):
        """After a step."""

    def two(self, views):
        """Projections of two views, one pass each."""
        return [self.it.projection_head(self.it.backbone(view)) for view in views]

    def follow(self, slow, fast, share):
        """Slow weights keep a share of themselves."""
        for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
            old.copy_(share * old + (1 - share) * new)

    def climb(self, start, progress):
        """1 − (1 − start)·(cos(π·progress) + 1) / 2."""
        return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


class PIRL(Naive):
    """λ·L(m, g) + (1 − λ)·L(m, f), with InfoNCE or the paper's NCE."""

    def loss(self, views, index, labels):
        image, jigsaw, drawn = views
        it, bank = self.it, self.it.bank.entries
        self.f = it.image_head(it.backbone(image))
        every = it.patch_head(it.backbone(jigsaw.flatten(0, 1)))
        pieces = jigsaw.shape[1]
        rows = [every[n * pieces : (n + 1) * pieces] for n in range(len(index))]
        g = torch.stack([it.jigsaw_head(torch.cat(list(row))) for row in rows])
        terms = []
        for q in (g, self.f):
            each = []
            for n, own in enumerate(index.tolist()):
                others = [j for j in range(len(bank)) if j != own]
                if self.options.negatives:
                    others = [others[j] for j in drawn[n].tolist()]
                tau = self.options.temperature
                scores = [cosine(q[n], bank[j]) / tau for j in (own, *others)]
                logs = log_softmax(scores)
                each.append(-logs[0])
                if self.options.loss == "nce":
                    each[-1] = each[-1] - sum((1 - h.exp()).log() for h in logs[1:])
            terms.append(mean(each))
        share = self.options.weight
        return share * terms[0] + (1 - share) * terms[1]

    def after(self, index, progress):
        bank, keep = self.it.bank, self.options.bank_momentum
        for n, number in enumerate(index.tolist()):
            new = self.f[n] / self.f[n].square().sum().sqrt()
            mixed = keep * bank.entries[number] + (1 - keep) * new
            bank.entries[number] = mixed / mixed.square().sum().sqrt()


class BYOL(Naive):
    """‖q̄ − z̄'‖² in both directions; the target follows along a cosine."""

    def loss(self, views, index, labels):
        z = [self.it.online(view) for view in views]
        with torch.no_grad():
            t = [self.it.target(view) for view in views]
        q = [norm_one(self.it.prediction_head(one)) for one in z]
        t = [norm_one(one) for one in t]
        pairs = [(q[0], t[1]), (q[1], t[0])]
        return sum(
            mean((a - b).square().sum() for a, b in zip(*pair, strict=True))
            for pair in pairs
        )

    def scales(self, factor):
        scale = self.options.predictor_scale * factor
        return dict.fromkeys(self.it.prediction_head.parameters(), scale)

    def after(self, index, progress):
        share = self.climb(self.options.target_momentum, progress)
        self.follow(self.it.target, self.it.online, share)


class SimSiam(Naive):
    """−cos(p, z) with z a constant; the predictor's rate is constant, too."""

    def loss(self, views, index, labels):
        z = self.two(views)
        p = [self.it.prediction_head(one) for one in z]
        pairs = [(p[0], z[1].detach()), (p[1], z[0].detach())]
        return -mean(
            mean(cosine(a, b) for a, b in zip(*pair, strict=True)) for pair in pairs
        )

    def scales(self, factor):
        return dict.fromkeys(self.it.prediction_head.parameters(), 1.0)


class SupCon(Naive):
    """Every view finds the other views of its class, or of its image."""

    def loss(self, views, index, labels):
        z = norm_one(torch.cat(self.two(views)))
        groups = [
            ("class", label) if label >= 0 else ("image", number)
            for label, number in zip(labels.tolist(), index.tolist(), strict=True)
        ] * 2
        each = []
        for i in range(len(z)):
            others = [j for j in range(len(z)) if j != i]
            scores = [(z[i] * z[j]).sum() / self.options.temperature for j in others]
            logs = dict(zip(others, log_softmax(scores), strict=True))
            each.append(-mean(logs[j] for j in others if groups[j] == groups[i]))
        return mean(each)


class SimCLR(SupCon):
    """SupCon where no image has a class."""

    def loss(self, views, index, labels):
        return super().loss(views, index, torch.full_like(labels, -1))


class MoCo(Naive):
    """The own key among the queue's; keys are normalised in other groups."""

    def loss(self, views, index, labels):
        q = [norm_one(self.it.online(view)) for view in views]
        count, groups = len(index), self.it.groups_here
        order = [n for first in range(groups) for n in range(first, count, groups)]
        self.keys = []
        with torch.no_grad():
            for view in views:
                mixed = norm_one(self.it.target(view[order]))
                place = {number: row for row, number in enumerate(order)}
                self.keys.append(torch.stack([mixed[place[n]] for n in range(count)]))
        queue, tau = self.it.queue.entries, self.options.temperature
        each = []
        for query, key in ((q[0], self.keys[1]), (q[1], self.keys[0])):
            for a, own in zip(query, key, strict=True):
                scores = [(a * k).sum() / tau for k in (own, *queue)]
                each.append(-log_softmax(scores)[0])
        return mean(each)

    def after(self, index, progress):
        self.follow(self.it.target, self.it.online, self.options.target_momentum)
        queue = self.it.queue.entries
        for keys in self.keys:
            rows = [*keys, *queue.clone()][: len(queue)]
            queue.copy_(torch.stack(rows))


class SwAV(Naive):
    """Codes of the large views by Sinkhorn's algorithm, predicted by all others."""

    def before(self, progress):
        self.uses_queue = progress >= self.options.queue_start
        self.frozen = progress < self.options.frozen
        weight = self.it.prototypes.weight
        with torch.no_grad():
            weight.copy_(norm_one(weight))

    def is_frozen(self, weight):
        return self.frozen and weight is self.it.prototypes.weight

    def codes(self, scores):
        q = [[math.exp(s / self.options.epsilon) for s in row] for row in scores]
        for _ in range(3):
            for k in range(len(q[0])):
                total = sum(row[k] for row in q)
                for row in q:
                    row[k] /= total
            q = [[value / sum(row) for value in row] for row in q]
        return q

    def loss(self, views, index, labels):
        it, tau = self.it, self.options.temperature
        sizes = sorted({view.shape[-1] for view in views}, reverse=True)
        passes = [torch.cat([v for v in views if v.shape[-1] == s]) for s in sizes]
        z = it.projection_head(torch.cat([it.backbone(one) for one in passes]))
        z = norm_one(z).chunk(len(views))
        self.large = [one.detach() for one in z[:2]]
        c = it.prototypes.weight
        scores = [[[(a * b).sum() for b in c] for a in view] for view in z]
        total, count = 0.0, len(index)
        for t in range(2):
            known = [[s.item() for s in row] for row in scores[t]]
            if self.uses_queue:
                queued = it.queue.entries[:, t]
                known += [[(a * b).sum().item() for b in c] for a in queued]
            codes = self.codes(known)[:count]
            for s in range(len(views)):
                if s == t:
                    continue
                for code, row in zip(codes, scores[s], strict=True):
                    logs = log_softmax([x / tau for x in row])
                    pairs = zip(code, logs, strict=True)
                    total = total - sum(a * b for a, b in pairs) / count
        return total / 2 / (len(views) - 1)

    def after(self, index, progress):
        queue = self.it.queue.entries
        for view in range(2):
            rows = [*self.large[view], *queue[:, view].clone()][: len(queue)]
            queue[:, view] = torch.stack(rows)


class Barlow(Naive):
    """Every two coordinates, correlated over the batch."""

    def loss(self, views, index, labels):
        z, count = [], len(index)
        for one in self.two(views):
            centred = one - sum(one) / count
            deviation = (sum(row.square() for row in centred) / count + 1e-5).sqrt()
            z.append(centred / deviation)
        total = 0.0
        for i in range(z[0].shape[1]):
            for j in range(z[0].shape[1]):
                c = sum(a * b for a, b in zip(z[0][:, i], z[1][:, j], strict=True))
                c = c / count
                own = i == j
                total = total + (
                    (1 - c) ** 2 if own else self.options.redundancy * c**2
                )
        return total


class VICReg(Naive):
    """Invariance, variance and covariance."""

    def loss(self, views, index, labels):
        z, options, total = self.two(views), self.options, 0.0
        count, width = z[0].shape
        for a, b in zip(*z, strict=True):
            gap = (a - b).square().sum() / count / width
            total = total + options.invariance * gap
        for one in z:
            centred = one - sum(one) / count
            for i in range(width):
                variance = sum(x**2 for x in centred[:, i]) / (count - 1)
                missing = (1 - (variance + 1e-4).sqrt()).clamp(min=0)
                total = total + options.variance * missing / width / 2
                for j in range(width):
                    if i != j:
                        pairs = zip(centred[:, i], centred[:, j], strict=True)
                        shared = sum(x * y for x, y in pairs) / (count - 1)
                        total = total + options.covariance * shared**2 / width
        return total


class DINO(Naive):
    """Cross-entropy with a centred, sharpened teacher that follows."""

    def before(self, progress):
        start, end = self.options.teacher_temperature
        self.tau = start + (end - start) * min(1.0, progress / 0.3)
        self.frozen = progress < self.options.frozen

    def is_frozen(self, weight):
        return self.frozen and weight is self.it.projection_head[1].weight

    def scores(self, features, head):
        mlp, last = head
        directions = norm_one(last.weight)
        return [[(a * b).sum() for b in directions] for a in norm_one(mlp(features))]

    def loss(self, views, index, labels):
        it, count = self.it, len(index)
        sizes = sorted({view.shape[-1] for view in views}, reverse=True)
        passes = [torch.cat([v for v in views if v.shape[-1] == s]) for s in sizes]
        features = torch.cat([it.backbone(one) for one in passes])
        student = self.scores(features, it.projection_head)
        with torch.no_grad():
            backbone, head = it.teacher
            teacher = self.scores(backbone(torch.cat(views[:2])), head)
        center = it.dino.center.flatten()
        total = 0.0
        for t in range(2):
            for s in range(len(views)):
                if s == t:
                    continue
                for n in range(count):
                    row = teacher[t * count + n]
                    sharp = [
                        (a - b) / self.tau for a, b in zip(row, center, strict=True)
                    ]
                    p = [h.exp() for h in log_softmax(sharp)]
                    logs = log_softmax([x / 0.1 for x in student[s * count + n]])
                    dot = sum(a * b for a, b in zip(p, logs, strict=True))
                    total = total - dot / count
        seen = [mean(column) for column in zip(*teacher, strict=True)]
        self.new_center = 0.9 * center + 0.1 * torch.stack(seen)
        return total / (2 * (len(views) - 1))

    def after(self, index, progress):
        self.it.dino.center.copy_(self.new_center.view_as(self.it.dino.center))
        share = self.climb(self.options.target_momentum, progress)
        self.follow(self.it.teacher, self.it.student, share)


NAIVE = {
    "pirl": PIRL,
    "byol": BYOL,
    "simclr": SimCLR,
    "simsiam": SimSiam,
    "supcon": SupCon,
    "swav": SwAV,
    "moco": MoCo,
    "barlow_twins": Barlow,
    "vicreg": VICReg,
    "dino": DINO,
}

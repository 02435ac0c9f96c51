"""Techniques with passes of their own against slow loops, additive models and planted truth."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import VARIANTS, context, explainable, network, noise, vision_model
from torch import Tensor, nn

from vitreport.errors import SettingsError
from vitreport.masking import blurred, token_drop
from vitreport.model.layout import Readout, TokenLayout, patch_means
from vitreport.model.load import VisionModel
from vitreport.model.trace import Need, Trace
from vitreport.techniques.control.edges import Edges
from vitreport.techniques.gradient.integrated_gradients import ExpectedGradients, IntegratedGradients
from vitreport.techniques.gradient.smooth_grad import SmoothGrad
from vitreport.techniques.perturbation.occlusion import OcclusionBlur, OcclusionTokenDrop
from vitreport.techniques.perturbation.rise import Rise
from vitreport.techniques.perturbation.vit_cx import VitCx, masks_of
from vitreport.techniques.technique import Context, Technique

SIDE, GRID = 32, (4, 4)
OWN_PASSES = (
    OcclusionTokenDrop(),
    OcclusionBlur(window=3),
    Rise(samples=12),
    VitCx(),
    IntegratedGradients(steps=4),
    ExpectedGradients(samples=4),
    SmoothGrad(samples=4),
)


def _toy(say: Callable[[Tensor], Tensor], pixels: Tensor, chunk: int = 32) -> Context:
    """A context of a function that gives the target's logit of pictures, ``(batch,)``."""

    def module(given: Tensor) -> Tensor:
        assert len(given) <= chunk
        return torch.stack((torch.zeros(len(given)), say(given)), 1)

    layout = TokenLayout(1, GRID, (8, 8), Readout.CLASS_TOKEN)
    model: Any = SimpleNamespace(module=module, layout=layout)
    batch = len(pixels)
    trace = Trace(
        logits=module(pixels).detach(),
        pixels=pixels,
        readout=torch.zeros(batch, 17),
        targets=torch.ones(batch, dtype=torch.int64),
    )
    return Context(trace, model, tuple(f"toy{number}" for number in range(batch)), 0, chunk)


def _logit(model: VisionModel, pixels: Tensor, target: int) -> float:
    """The target's logit of one picture, ``(3, height, width)``."""
    with torch.no_grad():
        return float(model.module(pixels[None])[0, target])


def _gradient(model: VisionModel, pixels: Tensor, target: int) -> Tensor:
    at = pixels.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(model.module(at[None])[0, target], at)
    return found


def _random(known: Context, image: int, draw: str) -> np.random.Generator:
    return known.generator(known.image_ids[image], draw)


def _close(found: Tensor, expected: Tensor, share: float = 1e-4) -> bool:
    return float((found - expected).abs().max()) <= share * float(expected.abs().max())


@pytest.mark.parametrize("name", ["class_token", "rotary_pool", "relative_position"])
def test_token_drop_shows_what_each_patch_adds(name: str, models: dict[str, VisionModel]) -> None:
    model, (rows, cols) = models[name], VARIANTS[name].grid
    known = context(model, noise(model, 2), [1, 4])
    found = OcclusionTokenDrop().attribute(known)
    for image, target in enumerate([1, 4]):
        pixels = known.trace.pixels[image]
        whole = _logit(model, pixels, target)
        for row in range(rows):
            for col in range(cols):
                rest = [patch for patch in range(rows * cols) if patch != row * cols + col]
                with torch.no_grad(), token_drop(model) as run:
                    lost = whole - float(run(pixels[None], torch.tensor([rest]))[0, target])
                assert float(found[image, row, col]) == pytest.approx(lost, abs=1e-5)


@pytest.mark.parametrize("window", [1, 3])
def test_blur_shows_what_each_window_adds(window: int, models: dict[str, VisionModel]) -> None:
    model, (rows, cols) = models["non_square"], VARIANTS["non_square"].grid
    known = context(model, noise(model, 2), [1, 4])
    found = OcclusionBlur(window=window, sigma=0.1).attribute(known)
    smooth, reach = blurred(known.trace.pixels, 0.1), window // 2
    for image, target in enumerate([1, 4]):
        pixels = known.trace.pixels[image]
        covering: dict[tuple[int, int], list[float]] = {}
        for row in range(rows):
            for col in range(cols):
                top, left = max(0, row - reach), max(0, col - reach)
                y, x = slice(8 * top, 8 * (row + reach + 1)), slice(8 * left, 8 * (col + reach + 1))
                changed = pixels.clone()
                changed[:, y, x] = smooth[image, :, y, x]
                lost = _logit(model, pixels, target) - _logit(model, changed, target)
                for down in range(top, min(rows, row + reach + 1)):
                    for right in range(left, min(cols, col + reach + 1)):
                        covering.setdefault((down, right), []).append(lost)
        for (row, col), lost_there in covering.items():
            assert float(found[image, row, col]) == pytest.approx(np.mean(lost_there), abs=1e-5)


def test_a_window_needs_a_middle() -> None:
    with pytest.raises(SettingsError, match="occlusion_blur: window is 2; it must be odd"):
        OcclusionBlur(window=2)


def _rise_masks(known: Context, image: int, technique: Rise) -> list[Tensor]:
    """The masks of one image, cell by cell."""
    generator = _random(known, image, "rise masks")
    side = technique.cells
    shown = generator.random((technique.samples, side, side)) < technique.keep
    shifts = generator.random((technique.samples, 2))
    height, width = known.trace.pixels.shape[-2:]
    cell = (-(-height // side), -(-width // side))
    masks = []
    for grid, shift in zip(shown, shifts, strict=True):
        top, left = int(shift[0] * cell[0]), int(shift[1] * cell[1])
        mask = torch.zeros(height, width)
        for y in range(height):
            for x in range(width):
                mask[y, x] = _between(grid, y + top, x + left, (side + 1) * cell[0], (side + 1) * cell[1])
        masks.append(mask)
    return masks


def _between(grid: Any, y: int, x: int, height: int, width: int) -> float:
    """Bilinear value of a square grid that is stretched over (height, width), at a pixel's middle."""
    side = len(grid)
    value = 0.0
    down = min(max((y + 0.5) * side / height - 0.5, 0), side - 1)
    right = min(max((x + 0.5) * side / width - 0.5, 0), side - 1)
    for row in range(side):
        for col in range(side):
            near = max(0.0, 1 - abs(down - row)) * max(0.0, 1 - abs(right - col))
            value += near * float(grid[row][col])
    return value


def test_rise_is_the_mean_over_masks_that_show_a_pixel(models: dict[str, VisionModel]) -> None:
    model, technique = models["non_square"], Rise(samples=6, cells=3, keep=0.4)
    known = context(model, noise(model, 2), [1, 4])
    found = technique.attribute(known)
    for image, target in enumerate([1, 4]):
        pixels = known.trace.pixels[image]
        masks = _rise_masks(known, image, technique)
        scores = [_logit(model, pixels * mask, target) for mask in masks]
        total = sum(score * mask for score, mask in zip(scores, masks, strict=True))
        shown = sum(masks)
        assert isinstance(total, Tensor) and isinstance(shown, Tensor)
        expected = torch.where(shown > 0, total / shown - float(np.mean(scores)), 0)
        assert _close(found[image], patch_means(expected[None], model.layout.grid)[0], 1e-3)


def test_rise_estimates_the_covariance_of_an_additive_model() -> None:
    weights = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    weights[8:16, 16:24] += 3
    known = _toy(lambda given: (given[:, 0] * weights).sum((1, 2)), torch.ones(1, 3, SIDE, SIDE))
    found = Rise(samples=6000, cells=4, keep=0.3).attribute(known)[0]
    wide = nn.functional.interpolate(torch.eye(16).view(16, 1, 4, 4), (40, 40), mode="bilinear")[:, 0]
    expected = torch.zeros(SIDE, SIDE)
    for top in range(8):
        for left in range(8):
            of_cells = wide[:, top : top + SIDE, left : left + SIDE]  # share of each cell in a pixel
            expected += torch.tensordot((of_cells * weights).sum((1, 2)), of_cells, 1)
    expected = patch_means(expected[None] * 0.7 / 64, known.model.layout.grid)[0]
    assert _close(found, expected, 0.12)
    assert float(torch.corrcoef(torch.stack((found.flatten(), expected.flatten())))[0, 1]) > 0.99


def test_a_pixel_that_no_mask_shows_is_zero() -> None:
    known = _toy(lambda given: given.sum((1, 2, 3)), torch.ones(2, 3, SIDE, SIDE))
    found = Rise(samples=2, cells=8, keep=0.01).attribute(known)
    assert found.isfinite().all()
    assert bool((found == 0).any())


def _clusters(rows: np.ndarray, distance: float) -> list[list[int]]:
    """Complete linkage by cosine distance, the closest two clusters first."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    apart = 1 - unit @ unit.T
    clusters = [[row] for row in range(len(rows))]
    while len(clusters) > 1:
        furthest, one, other = min(
            (max(apart[i, j] for i in clusters[one] for j in clusters[other]), one, other)
            for one in range(len(clusters))
            for other in range(one)
        )
        if furthest > distance:
            break
        clusters[other] += clusters.pop(one)
    return clusters


def _stretch(row: np.ndarray) -> np.ndarray:
    stretched: np.ndarray = (row - row.min()) / (row.max() - row.min())
    return stretched


def _vit_cx_masks(features: Tensor, distance: float) -> list[np.ndarray]:
    """From ``(rows, cols, channels)``."""
    grid = features.shape[:2]
    rows = np.stack([_stretch(row) for row in features.flatten(0, 1).T.double().numpy()])
    sums = [sum(rows[member] for member in cluster) for cluster in _clusters(rows, distance)]
    return [_stretch(np.asarray(one)).reshape(grid) for one in sums]


@pytest.mark.parametrize("distance", [0.001, 0.1, 0.3, 2.0])
def test_vit_cx_masks_are_clusters_of_channels(distance: float, models: dict[str, VisionModel]) -> None:
    known = context(models["non_square"], noise(models["non_square"], 1), [1])
    assert known.trace.features is not None
    features = known.trace.features[0]
    found = masks_of(features.movedim(-1, 0), distance).flatten(1).double().numpy()
    expected = np.stack([mask.ravel() for mask in _vit_cx_masks(features, distance)])
    assert len(found) == len(expected)
    assert np.allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=1e-6)


def test_vit_cx_leaves_out_what_has_no_contrast() -> None:
    flat = torch.ones(2, 4, 4)
    assert masks_of(flat, 0.1).shape == (0, 4, 4)
    flat[1, 2, 2] = 3
    assert masks_of(flat, 0.1).shape == (1, 4, 4)
    assert masks_of(flat, 0.1).max() == 1


def test_vit_cx_is_the_mean_causal_score_of_masks_that_show_a_pixel(models: dict[str, VisionModel]) -> None:
    model = models["non_square"]
    known = context(model, noise(model, 2), [1, 4])
    found = VitCx(distance=0.3, noise=0.2).attribute(known)
    assert known.trace.features is not None
    for image, target in enumerate([1, 4]):
        pixels = known.trace.pixels[image]
        generator = _random(known, image, "vit_cx noise")
        grids = masks_of(known.trace.features[image].movedim(-1, 0), 0.3)
        assert 1 < len(grids) < 24
        total, shown, scores = torch.zeros(32, 48), torch.zeros(32, 48), []
        for grid in grids:
            mask = nn.functional.interpolate(grid[None, None], (32, 48), mode="bilinear")[0, 0]
            drawn = torch.from_numpy(generator.standard_normal((3, 32, 48), np.float32)) * 0.2 * (1 - mask)
            score = (
                _logit(model, pixels * mask + drawn, target)
                + _logit(model, pixels, target)
                - _logit(model, pixels + drawn, target)
            )
            scores.append(score)
            total, shown = total + score * mask, shown + mask
        expected = patch_means((total / shown - float(np.mean(scores)))[None], model.layout.grid)[0]
        assert _close(found[image], expected, 1e-3)


def test_integrated_gradients_of_a_linear_model_are_weight_times_pixel() -> None:
    weights = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    known = _toy(lambda given: (given * weights).sum((1, 2, 3)), pixels)
    assert _close(IntegratedGradients(steps=2).attribute(known), (weights * pixels).sum(1), 1e-5)


def test_integrated_gradients_weigh_the_way_by_gauss_and_legendre(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    known = context(model, noise(model, 2), [1, 4])
    found = IntegratedGradients(steps=3).attribute(known)
    middle, wide = 0.5, 0.5 * (3 / 5) ** 0.5
    for image, target in enumerate([1, 4]):
        pixels = known.trace.pixels[image]
        mean = torch.zeros_like(pixels)
        for share, weight in ((middle - wide, 5 / 18), (middle, 8 / 18), (middle + wide, 5 / 18)):
            mean += weight * _gradient(model, share * pixels, target)
        assert _close(found[image], (mean * pixels).sum(0), 1e-5)


def test_integrated_gradients_become_complete() -> None:
    module = network("class_token").double()
    model = explainable(module, (32, 32))
    pixels = noise(model, 2).double()
    known = context(model, pixels, [1, 4])
    with torch.no_grad():
        logits = module(pixels) - module(torch.zeros_like(pixels))
    wanted = logits[torch.arange(2), torch.tensor([1, 4])]
    gaps = [
        float((IntegratedGradients(steps=steps).attribute(known).sum((1, 2)) - wanted).abs().max())
        for steps in (2, 10, 60)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-5


def test_expected_gradients_begin_at_random_colours(models: dict[str, VisionModel]) -> None:
    model, samples = models["class_token"], 5
    known = context(model, noise(model, 2), [1, 4])
    found = ExpectedGradients(samples=samples).attribute(known)
    for image, target in enumerate([1, 4]):
        pixels = known.trace.pixels[image]
        generator = _random(known, image, "expected_gradients path")
        colours, shares = generator.standard_normal((samples, 3)), generator.random(samples)
        expected = torch.zeros(32, 32)
        for colour, share in zip(colours, shares, strict=True):
            start = torch.from_numpy(colour).float().view(3, 1, 1).expand_as(pixels)
            way = pixels - start
            expected += (way * _gradient(model, start + float(share) * way, target)).sum(0) / samples
        assert _close(found[image], expected)


def test_expected_gradients_sum_to_the_logit_beyond_that_of_colours() -> None:
    weights = torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    known = _toy(lambda given: (given * weights).sum((1, 2, 3)), pixels)
    total = ExpectedGradients(samples=4000).attribute(known).sum()
    spread = float(weights.sum((1, 2)).norm()) / 4000**0.5
    assert abs(float(total) - float((weights * pixels).sum())) < 4 * spread


def test_smooth_grad_is_the_largest_mean_gradient_of_noisy_copies(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    known = context(model, noise(model, 2), [1, 4])
    found = SmoothGrad(samples=3, noise=0.2).attribute(known)
    for image, target in enumerate([1, 4]):
        pixels = known.trace.pixels[image]
        generator = _random(known, image, "smooth_grad noise")
        mean = torch.zeros_like(pixels)
        for _ in range(3):
            drawn = torch.from_numpy(generator.standard_normal((3, 32, 32), np.float32))
            noisy = pixels + drawn * 0.2 * float(pixels.max() - pixels.min())
            mean += _gradient(model, noisy, target) / 3
        assert _close(found[image], mean.abs().amax(0))


def test_smooth_grad_without_noise_is_saliency(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    known = context(model, noise(model, 2), [1, 4])
    assert known.trace.pixel_gradient is not None
    found = SmoothGrad(samples=2, noise=0).attribute(known)
    assert _close(found, known.trace.pixel_gradient.abs().amax(1))


@pytest.mark.parametrize("patch", [(0, 0), (1, 2), (3, 1)])
@pytest.mark.parametrize(
    "technique",
    [
        OcclusionBlur(),
        OcclusionBlur(window=3),
        Rise(samples=400, cells=4),
        IntegratedGradients(steps=20),
        ExpectedGradients(samples=40),
        SmoothGrad(samples=10),
    ],
    ids=lambda technique: technique.key,
)
def test_the_only_patch_that_counts_is_found(technique: Technique, patch: tuple[int, int]) -> None:
    """The logit is the contrast of a checkerboard inside one patch."""
    y, x = slice(8 * patch[0], 8 * patch[0] + 8), slice(8 * patch[1], 8 * patch[1] + 8)
    board = ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1).float()
    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) * 0.3
    pixels[:, :, y, x] += board
    known = _toy(lambda given: torch.tanh((given[:, :, y, x] * board).mean((1, 2, 3))), pixels)
    found = technique.attribute(known)
    patches = nn.functional.adaptive_avg_pool2d(found[:, None], GRID)[:, 0]
    for one in patches:
        assert divmod(int(one.argmax()), 4) == patch or technique == OcclusionBlur(window=3)
        assert float(one[patch]) == pytest.approx(float(one.max()), rel=1e-5)


def test_token_drop_finds_the_only_patch_that_counts() -> None:
    model = vision_model("patch_mean")
    module: Any = model.module
    for block in module.blocks:
        nn.init.zeros_(block.attn.proj.weight)
        nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(module.pos_embed)
    nn.init.zeros_(module.patch_embed.proj.bias)
    pixels = torch.zeros(1, 3, 48, 32)
    pixels[:, :, 16:24, 8:16] = 3 * noise(model, 1)[:, :, 16:24, 8:16]
    with torch.no_grad():
        target = int((module(pixels) - module(torch.zeros_like(pixels))).argmax())
    found = OcclusionTokenDrop().attribute(context(model, pixels, [target]))
    assert divmod(int(found[0].argmax()), 4) == (2, 1)
    rest = found[0].flatten()[torch.arange(24) != 9]
    assert float(rest.abs().max()) < 0.2 * float(found.max())


@pytest.mark.parametrize("technique", OWN_PASSES, ids=lambda technique: technique.key)
def test_chunks_do_not_matter(technique: Technique, models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    whole = context(model, noise(model, 3), [0, 3, 2])
    sizes: list[int] = []
    handle = model.module.register_forward_hook(lambda _module, given, _out: sizes.append(len(given[0])))
    for chunk in (1, 5):
        parts = Context(whole.trace, model, whole.image_ids, 0, chunk)
        sizes.clear()
        found = technique.attribute(parts)
        assert max(sizes) == chunk
        assert _close(found, technique.attribute(whole), 1e-5)
    handle.remove()


@pytest.mark.parametrize("technique", OWN_PASSES, ids=lambda technique: technique.key)
def test_passes_are_those_that_are_made(technique: Technique, models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    known = context(model, noise(model, 1), [0])
    seen: list[tuple[int, bool]] = []
    handle = model.module.register_forward_hook(
        lambda _module, given, _out: seen.append((len(given[0]), given[0].requires_grad))
    )
    technique.attribute(known)
    handle.remove()
    made = sum(pictures * (3 if gradient else 1) for pictures, gradient in seen)
    if isinstance(technique, VitCx):
        assert made <= technique.passes(model)
    else:
        assert made == technique.passes(model)


@pytest.mark.parametrize("technique", OWN_PASSES, ids=lambda technique: technique.key)
def test_draws_depend_on_the_image_and_the_seed_but_not_on_the_target(
    technique: Technique, models: dict[str, VisionModel]
) -> None:
    model = models["class_token"]
    pixels = noise(model, 1)
    one, same, other, another = (
        technique.attribute(context(model, pixels, [0], ids=(name,), seed=seed))
        for name, seed in (("a", 0), ("a", 0), ("b", 0), ("a", 1))
    )
    drawn = isinstance(technique, Rise | VitCx | ExpectedGradients | SmoothGrad)
    assert torch.equal(one, same)
    assert torch.equal(one, other) is not drawn
    assert torch.equal(one, another) is not drawn


def test_the_same_masks_are_drawn_for_every_target(models: dict[str, VisionModel]) -> None:
    model = models["class_token"]
    one, other = (Rise(samples=5).draw(context(model, noise(model, 1), [target])) for target in (0, 3))
    assert torch.equal(one.cells, other.cells) and torch.equal(one.shifts, other.shifts)


def test_vit_cx_reads_features_and_the_others_nothing() -> None:
    assert {technique.name: technique.needs for technique in OWN_PASSES if technique.needs} == {
        "vit_cx": Need.FEATURES
    }


def test_edges_are_steps_of_luminance() -> None:
    model = vision_model("non_square")
    mean, std = (torch.tensor(model.preparation.config[name]).view(3, 1, 1) for name in ("mean", "std"))
    shown = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(5))
    found = Edges().attribute(context(model, (shown - mean) / std, [0, 1]))
    grey = 0.299 * shown[:, 0] + 0.587 * shown[:, 1] + 0.114 * shown[:, 2]
    for image in range(2):
        for row in range(4):
            for col in range(6):
                steepness = [
                    _slope(grey[image], 8 * row + y, 8 * col + x) for y in range(8) for x in range(8)
                ]
                assert float(found[image, row, col]) == pytest.approx(np.mean(steepness), rel=1e-4)


def _slope(grey: Tensor, y: int, x: int) -> float:
    def at(down: int, right: int) -> float:
        return float(grey[min(max(y + down, 0), 31), min(max(x + right, 0), 47)])

    right = sum(weight * (at(step, 1) - at(step, -1)) for step, weight in ((-1, 1), (0, 2), (1, 1))) / 8
    down = sum(weight * (at(1, step) - at(-1, step)) for step, weight in ((-1, 1), (0, 2), (1, 1))) / 8
    return float((right**2 + down**2) ** 0.5)


def test_a_flat_picture_has_no_edges() -> None:
    model = vision_model("class_token")
    found = Edges().attribute(context(model, torch.full((1, 3, 32, 32), 0.4), [0]))
    assert float(found.abs().max()) < 1e-6

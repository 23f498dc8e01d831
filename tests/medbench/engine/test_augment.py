"""Augmentation, held against torchvision, scipy and numpy."""

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from torchvision.transforms import functional as tv

from medbench.augment import augment, chunks, colour, geometry, pipelines, simclr_view
from medbench.interfaces.augmentation import AugmentationSettings, ViewSettings

NOTHING = {
    "horizontal_flip": False,
    "rotation_degrees": 0,
    "sharpness": 0,
    "autocontrast": 0,
    "equalise": 0,
}
SHAPES = [(4, 3, 32, 32), (4, 1, 32, 32), (1, 3, 17, 23), (3, 1, 9, 8)]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(*shape, seed=1):
    return torch.rand(shape, generator=generator(seed))


def quantised(*shape, seed=1):
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


def everything():
    return [
        lambda images, rng: augment(images, AugmentationSettings(translate=0.1), rng),
        lambda images, rng: augment(
            images, AugmentationSettings(rotation_degrees=0, translate=0.1), rng
        ),
        lambda images, rng: simclr_view(images, ViewSettings(), rng),
    ]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", everything())
def test_one_generator_state_gives_one_result(change, shape):
    images = pictures(*shape)
    before, untouched = torch.get_rng_state(), images.clone()
    first, again, other = (change(images, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(images, untouched)
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize("change", everything())
def test_memory_layout_and_autocast_change_nothing(change):
    images = pictures(8, 3, 32, 32)
    plain = change(images, generator())
    last = change(images.contiguous(memory_format=torch.channels_last), generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = change(images, generator())
    assert torch.equal(plain, last)
    assert torch.equal(plain, cast)


@pytest.mark.parametrize("change", everything())
def test_samples_draw_their_own_parameters(change):
    images = pictures(1, 3, 32, 32).expand(16, -1, -1, -1)
    changed = change(images, generator())
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 8


def test_every_image_is_shifted_its_own_way():
    columns = torch.arange(20.0) / 20
    across, down = columns.expand(200, 1, 20, 20), columns[:, None].expand(200, 1, 20, 20)
    settings = AugmentationSettings(**NOTHING | {"translate": 0.2})
    for ramp in (across, down):
        shifts = ((ramp - augment(ramp, settings, generator()))[:, 0, 10, 10] * 20).round()
        assert shifts.unique().tolist() == [float(shift) for shift in range(-4, 5)]


@pytest.mark.parametrize("change", everything())
@pytest.mark.parametrize("size", [20, 96])
def test_chunks_and_threads_change_nothing(change, size, monkeypatch):
    images = pictures(7, 1, size, size)
    monkeypatch.setattr(chunks, "_BYTES", 3 * images[0].nbytes)
    alone = change(images, generator())
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert torch.equal(change(images, generator()), alone)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    with torch.inference_mode():
        assert torch.equal(change(images, generator()), alone)
    monkeypatch.undo()
    torch.testing.assert_close(change(images, generator()), alone, atol=1e-6, rtol=0)
    assert change(images[:0], generator()).shape == (0, 1, size, size)


@pytest.mark.parametrize("channels", [1, 3])
def test_pieces_in_which_colours_change_change_nothing(channels, monkeypatch):
    images = pictures(7, channels, 40, 40)
    whole = simclr_view(images, ViewSettings(), generator())
    for few in (1, 3):
        monkeypatch.setattr(pipelines, "_PIECE", few * images[0].nbytes)
        assert torch.equal(simclr_view(images, ViewSettings(), generator()), whole)


def _one_pixel():
    return simclr_view(pictures(7, 1, 96, 96), ViewSettings(), generator())[6, 0, 0, 0].item()


def test_a_process_forked_later_has_threads_of_its_own():
    torch.set_num_threads(2)
    expected = _one_pixel()
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(_one_pixel()), daemon=True)
    process.start()
    answered = mine.poll(60)
    process.kill()
    assert answered
    assert mine.recv() == expected


def test_nothing_asked_nothing_done():
    images = pictures(4, 3, 32, 32)
    assert torch.equal(augment(images, AugmentationSettings(**NOTHING), generator()), images)


def test_half_of_the_images_are_mirrored_exactly():
    images = pictures(400, 1, 9, 8)
    settings = AugmentationSettings(**NOTHING | {"horizontal_flip": True})
    flipped = augment(images, settings, generator())
    mirrored = torch.from_numpy(images.numpy()[..., ::-1].copy())
    is_mirrored = (flipped == mirrored).flatten(1).all(1)
    is_same = (flipped == images).flatten(1).all(1)
    assert torch.equal(is_mirrored, ~is_same)
    assert 0.4 < is_mirrored.float().mean() < 0.6


@pytest.mark.parametrize(("down", "right", "flip"), [(0, 0, 1), (3, -2, 0), (-5, 4, 1)])
def test_shift_is_a_reflect_padded_crop(down, right, flip):
    images = pictures(2, 3, 11, 13)
    moved = geometry.shift(
        images, torch.full((2,), down), torch.full((2,), right), torch.full((2,), bool(flip))
    )
    pad = 6
    source = images.numpy()[..., ::-1] if flip else images.numpy()
    padded = np.pad(source, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="reflect")
    expected = padded[..., pad - down : pad - down + 11, pad - right : pad - right + 13]
    np.testing.assert_array_equal(moved.numpy(), expected)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 21, 30)])
def test_warp_without_rotation_is_shift(shape):
    images, flip = pictures(*shape), torch.tensor([True, False])
    down, right = torch.tensor([2, -3]), torch.tensor([-1, 4])
    warped = geometry.warp(images, torch.zeros(2), down.float(), right.float(), flip)
    inner = (..., slice(5, -5), slice(5, -5))  # grid_sample reflects at edges, not centres
    expected = geometry.shift(images, down, right, flip)
    torch.testing.assert_close(warped[inner], expected[inner], atol=1e-4, rtol=0)


@pytest.mark.parametrize("degrees", [-10.0, 7.5, 90.0])
def test_warp_rotates_as_torchvision(degrees):
    images = pictures(2, 3, 33, 33)
    rotated = geometry.warp(
        images, torch.full((2,), degrees), torch.zeros(2), torch.zeros(2), torch.zeros(2).bool()
    )
    expected = tv.rotate(images, degrees, tv.InterpolationMode.BILINEAR)
    inner = (..., slice(5, -5), slice(5, -5))  # torchvision fills corners with black
    torch.testing.assert_close(rotated[inner], expected[inner], atol=2e-4, rtol=0)


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (20, 31)])
def test_crop_resize_is_crop_then_antialiased_interpolation(size):
    images = pictures(2, 3, 24, 26)
    top, left = torch.tensor([[0, 5], [14, 3]]), torch.tensor([[16, 2], [0, 8]])
    tiles = geometry.crop_resize(
        images, top.float(), left.float(), torch.full((1, 1), 8.0), torch.full((1, 1), 8.0), size
    )
    for image in range(2):
        for tile in range(2):
            y, x = int(top[image, tile]), int(left[image, tile])
            expected = torch.nn.functional.interpolate(
                images[None, image, :, y : y + 8, x : x + 8], size, mode="bilinear", antialias=True
            )[0]
            if size == (8, 8):
                assert torch.equal(tiles[image, tile], expected)
            torch.testing.assert_close(tiles[image, tile], expected, atol=1e-5, rtol=0)


def test_crop_resize_shrinks_a_whole_image_as_pillow_does():
    images = pictures(1, 3, 30, 30)
    whole = torch.full((1, 1), 30.0)
    small = geometry.crop_resize(images, whole * 0, whole * 0, whole, whole, (7, 7))[:, 0]
    expected = torch.nn.functional.interpolate(images, (7, 7), mode="bilinear", antialias=True)
    torch.testing.assert_close(small, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(6, 3, 24, 26), (6, 1, 96, 90)])
def test_crops_are_resized_as_by_torchvision(shape):
    images, size = pictures(*shape), shape[-2:]
    boxes = geometry.random_boxes(generator(), len(images), size)
    flip = torch.tensor([True, False] * 3)
    crops = geometry.resized_crops(images, **boxes, flip=flip)
    sides = torch.stack([boxes[name] for name in ("top", "left", "height", "width")], 1)
    assert torch.equal(sides, sides.round())
    for image, crop, box, mirrored in zip(images, crops, sides.int().tolist(), flip, strict=True):
        expected = tv.resized_crop(image, *box, size, antialias=True)
        expected = tv.hflip(expected) if mirrored else expected
        torch.testing.assert_close(crop, expected, atol=1e-5, rtol=0)


def test_large_and_small_images_are_cropped_by_kernels_that_agree(monkeypatch):
    images = pictures(5, 3, 88, 91)
    boxes = geometry.random_boxes(generator(), len(images), (88, 91))
    flip = torch.arange(5) % 2 == 0
    large = geometry.resized_crops(images, **boxes, flip=flip)
    monkeypatch.setattr(geometry, "_LARGE", 10**9)
    small = geometry.resized_crops(images, **boxes, flip=flip)
    torch.testing.assert_close(large, small, atol=1e-5, rtol=0)


def test_boxes_keep_to_scale_ratio_and_image():
    boxes = geometry.random_boxes(generator(), 4000, (300, 300), scale=(0.25, 0.5), ratio=1.5)
    area, ratio = boxes["height"] * boxes["width"] / 300**2, boxes["width"] / boxes["height"]
    assert area.min() > 0.248
    assert area.max() < 0.503
    assert 0.37 < area.mean() < 0.38
    assert ratio.min() > 1 / 1.52
    assert ratio.max() < 1.52
    for start, side in (("top", "height"), ("left", "width")):
        assert boxes[start].min() == 0
        assert (boxes[start] + boxes[side]).max() == 300


ONLY_CROPS = {"jitter": 0, "grey": 0, "blur": 0, "horizontal_flip": False}


def test_views_are_the_boxes_of_their_images():
    # On a picture of its own coordinates, a crop's slopes are its sides.
    ramp = (torch.arange(64.0) + 0.5) / 64
    images = torch.stack([ramp[:, None].expand(64, 64), ramp.expand(64, 64)])
    images = torch.cat([images, images[:1]])[None].expand(500, -1, -1, -1)
    settings = ViewSettings(crop_scale_min=0.25, crop_scale_max=0.5, crop_ratio=1.5, **ONLY_CROPS)
    crops = simclr_view(images, settings, generator())
    boxes = geometry.random_boxes(generator(), 500, (64, 64), scale=(0.25, 0.5), ratio=1.5)
    height = (crops[:, 0, 40, 0] - crops[:, 0, 24, 0]) * 4
    width = (crops[:, 1, 0, 40] - crops[:, 1, 0, 24]) * 4
    torch.testing.assert_close(height * 64, boxes["height"], atol=1e-3, rtol=0)
    torch.testing.assert_close(width * 64, boxes["width"], atol=1e-3, rtol=0)


FACTORS = {
    "brightness": [0.0, 0.4, 1.0, 1.7],
    "contrast": [0.0, 0.4, 1.0, 1.7],
    "saturation": [0.0, 0.4, 1.0, 1.7],
    "hue": [-0.5, -0.13, 0.0, 0.31, 0.5],
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", FACTORS)
def test_colours_are_adjusted_as_by_torchvision(name, channels):
    factors = FACTORS[name]
    images = pictures(len(factors), channels, 12, 15)
    images[:, :, 0, :3] = torch.tensor([0.0, 0.5, 1.0])  # grey pixels have no hue
    images[:, 0, 1] = images[:, -1, 1]  # two channels share the maximum here and there
    adjusted = getattr(colour, f"adjust_{name}")(images, torch.tensor(factors))
    for image, factor, result in zip(images, factors, adjusted, strict=True):
        expected = getattr(tv, f"adjust_{name}")(image, factor)
        # torchvision's hue passes through a coarser floor; its weights of luma have 3 digits.
        torch.testing.assert_close(result, expected, atol=2e-4, rtol=0)


def test_neutral_factors_change_nothing():
    images, one = pictures(4, 3, 16, 16), torch.ones(4)
    assert torch.equal(colour.adjust_brightness(images, one), images)
    assert torch.equal(colour.adjust_contrast(images, one), images)
    assert torch.equal(colour.adjust_saturation(images, one), images)
    torch.testing.assert_close(colour.adjust_hue(images, one * 0), images, atol=1e-6, rtol=0)


def test_jitter_follows_the_order():
    images, factors = pictures(3, 3, 9, 9), torch.tensor([[0.5, 1.5, 0.3, 0.1]] * 3)
    for order in ([3, 1, 0, 2], [0, 1, 2, 3]):
        expected = images
        for place in order:
            expected = colour.ADJUSTMENTS[place](expected, factors[:, place])
        assert torch.equal(colour.jitter(images, factors, order), expected)
    names = [adjust.__name__.removeprefix("adjust_") for adjust in colour.ADJUSTMENTS]
    assert names == list(FACTORS)


@pytest.mark.parametrize("change", ["jitter", "grey", "blur"])
def test_views_are_left_out_as_often_as_it_says(change):
    images = pictures(400, 3, 32, 32)
    whole = {"crop_scale_min": 1, "crop_ratio": 1, "blur_sigma_min": 1}
    settings = ViewSettings(**ONLY_CROPS | whole | {change: 0.3})
    views = simclr_view(images, settings, generator())
    changed = (views - images).abs().flatten(1).amax(1) > 1e-5
    assert 0.2 < changed.float().mean() < 0.4


def test_grey_is_the_luma_in_all_channels():
    images = pictures(3, 3, 8, 8)
    grey = colour.to_grey(images, torch.tensor([True, False, True]))
    assert torch.equal(grey[1], images[1])
    expected = tv.rgb_to_grayscale(images[[0, 2]], num_output_channels=3)
    torch.testing.assert_close(grey[[0, 2]], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (3, 1, 19, 26), (3, 1, 67, 40)])
@pytest.mark.parametrize("radius", [1, 4])
def test_blur_is_a_truncated_gaussian_with_mirrored_edges(shape, radius):
    images, sigmas = pictures(*shape), [0.1, 0.9, 2.0]
    blurred = colour.gaussian_blur(images, torch.tensor(sigmas), radius)
    for image, sigma, result in zip(images, sigmas, blurred, strict=True):
        taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
        taps /= taps.sum()
        expected = ndimage.correlate1d(image.numpy().astype(float), taps, 1, mode="mirror")
        expected = ndimage.correlate1d(expected, taps, 2, mode="mirror")
        np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)
        by_torchvision = tv.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2)
        torch.testing.assert_close(result, by_torchvision, atol=1e-5, rtol=0)


def test_blur_of_sigma_zero_is_the_identity():
    images = pictures(2, 3, 32, 32)
    assert torch.equal(colour.gaussian_blur(images, torch.zeros(2), 3), images)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(2, 3, 16, 11), (2, 1, 3, 3)])
def test_sharpening_as_by_torchvision(factor, shape):
    images = pictures(*shape)
    expected = tv.adjust_sharpness(images, factor)
    torch.testing.assert_close(colour.sharpen(images, factor), expected, atol=1e-5, rtol=0)


def test_images_too_small_to_sharpen_stay():
    images = pictures(2, 1, 2, 2)
    assert torch.equal(colour.sharpen(images, 2.0), images)


def test_autocontrast_as_by_torchvision():
    images = 0.2 + 0.5 * pictures(4, 3, 16, 11)
    images[1, 2] = 0.3  # a constant channel
    expected = torch.stack([tv.autocontrast(image) for image in images])
    torch.testing.assert_close(colour.autocontrast(images), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(6, 3, 40, 33), (6, 1, 64, 64)])
def test_equalisation_as_by_torchvision_to_the_level(shape):
    levels = quantised(*shape)
    levels[1] = levels[1] // 8  # dark
    levels[2] = 77  # constant
    levels[3, :, :, 3:] = 255  # one level takes nearly all
    levels[4] = levels[4] // 64 * 64  # few levels
    equalised = colour.equalise(levels.float() / 255)
    expected = torch.stack([tv.equalize(image) for image in levels])
    assert torch.equal((equalised * 255).round().to(torch.uint8), expected)


@pytest.mark.parametrize(
    "operation", [colour.equalise, colour.autocontrast, lambda images: colour.sharpen(images, 2.0)]
)
def test_samples_do_not_see_each_other(operation):
    images, order = pictures(5, 3, 16, 16), torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(operation(images[order]), operation(images)[order])


def test_probabilities_are_shares_of_images():
    images = 0.25 + 0.5 * pictures(400, 1, 8, 8)
    settings = AugmentationSettings(**NOTHING | {"autocontrast": 0.25})
    stretched = augment(images, settings, generator())
    assert 0.18 < (stretched != images).flatten(1).any(1).float().mean() < 0.32


def test_grey_images_keep_one_channel_and_colour_images_lose_none():
    always = ViewSettings(grey=1.0, jitter=1.0)
    assert simclr_view(pictures(3, 1, 16, 16), always, generator()).shape == (3, 1, 16, 16)
    grey = simclr_view(pictures(3, 3, 16, 16), always, generator())
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_settings_refuse_nonsense_and_load_no_torch():
    with pytest.raises(ValidationError, match="crop_scale_min"):
        ViewSettings(crop_scale_min=0.9, crop_scale_max=0.5)
    with pytest.raises(ValidationError, match="blur_sigma_min"):
        ViewSettings(blur_sigma_min=3)
    with pytest.raises(ValidationError):
        AugmentationSettings(equalise=1.5)
    code = "import medbench.interfaces.augmentation, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

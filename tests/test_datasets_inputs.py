"""What training gets of a data set: a split by one permutation, and scaled inputs."""

import pytest
import torch
from fake_data import sandbox as sandbox
from torch import Tensor

from repro.datasets import Split, load, scale_inputs, split


def test_split_is_one_permutation_cut_in_two() -> None:
    digits = load("digits")
    n = len(digits.train_images)
    drawn = split(digits, 297, torch.Generator().manual_seed(3))
    permutation = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    assert isinstance(drawn, Split)
    assert torch.equal(drawn.validation, permutation[:297])
    assert torch.equal(drawn.train, permutation[297:])
    assert drawn.train.dtype == drawn.validation.dtype == torch.int64
    assert torch.cat([drawn.train, drawn.validation]).sort().values.tolist() == list(range(n))


def test_split_of_nothing() -> None:
    drawn = split(load("digits"), 0, torch.Generator())
    assert len(drawn.validation) == 0
    assert len(drawn.train) == 1297


@pytest.mark.parametrize("size", [-1, 1297, 5000])
def test_split_rejects(size: int) -> None:
    message = f"`validation_size` from 0 to 1296, as digits has 1297 .*; found {size}"
    with pytest.raises(ValueError, match=message):
        split(load("digits"), size, torch.Generator())


def random_images(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 4, 5), generator=generator, dtype=torch.uint8)
    images[:, 1] //= 7  # channels that differ
    return images


def test_unit_scaling_divides_by_255() -> None:
    images = random_images(4, 0)
    scaled = scale_inputs(images, "unit", images[:0])
    assert scaled.dtype == torch.float32
    assert torch.equal(scaled, images.float() / torch.tensor(255.0))
    assert torch.equal(images, random_images(4, 0))  # not in place


def test_standardised_scaling_uses_the_reference() -> None:
    images, reference = random_images(4, 0), random_images(50, 1)
    scaled = scale_inputs(images, "standardised", reference)
    unit = reference.double() / 255
    mean = unit.mean((0, 2, 3), keepdim=True)
    deviation = unit.std((0, 2, 3), correction=0, keepdim=True)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(
        scaled.double(), (images.double() / 255 - mean) / deviation, rtol=1e-6, atol=1e-7
    )


def test_standardised_scaling_is_the_same_in_any_order() -> None:
    images, reference = random_images(4, 0), random_images(50, 1)
    scaled = scale_inputs(images, "standardised", reference)
    assert torch.equal(scale_inputs(images, "standardised", reference.flip(0, 2, 3)), scaled)
    assert scale_inputs(images[:0], "standardised", reference).shape == (0, 3, 4, 5)


@pytest.mark.parametrize(
    ("images", "scaling", "reference", "message"),
    [
        (random_images(2, 0), "zca", random_images(2, 0), "one of unit, standardised; found 'zca'"),
        (random_images(2, 0).float(), "unit", random_images(2, 0), "`images` .*uint8.*float32"),
        (random_images(2, 0)[0], "unit", random_images(2, 0), r"`images` .*found \(3, 4, 5\)"),
        (random_images(2, 0), "unit", random_images(2, 0)[:, :1], r"`reference` .*\(2, 1, 4, 5\)"),
        (random_images(2, 0), "standardised", random_images(0, 0), "every channel .* to vary"),
        (
            random_images(2, 0),
            "standardised",
            random_images(2, 0) * torch.tensor([1, 0, 1], dtype=torch.uint8)[:, None, None],
            r"every channel of `reference` to vary; found .*, 0\.0, ",
        ),
    ],
)
def test_scale_inputs_rejects(
    images: Tensor, scaling: str, reference: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scale_inputs(images, scaling, reference)

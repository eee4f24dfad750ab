"""Postures that nobody chose, and the head that tells them from play."""
import pytest
import torch

from diffusion_planner.nets.heads import FamiliarityHead
from diffusion_planner.training.familiarity import familiarity_loss, fit_floor, strangers

torch.set_num_threads(1)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_half_of_the_strangers_are_anywhere_in_the_box(generator):
    # Play is at (10, 10), the box far from it: lines and shaken postures stay where play is.
    play, box = torch.full((4000, 2), 10.0), torch.tensor([[-3.0, 1.0], [-1.0, 2.0]])
    made = strangers(play, play, generator, box_rad=box)
    inside = ((made >= box[0]) & (made <= box[1])).all(1)
    assert made.shape == play.shape and inside.float().mean() == pytest.approx(0.5, abs=0.05)
    assert ((made[~inside] - 10).abs() < 1).all()
    # Uniform: the mean is the middle, the deviation a side divided by the square root of 12.
    assert made[inside].mean(0).tolist() == pytest.approx([-2, 1.5], abs=0.05)
    assert made[inside].std(0).tolist() == pytest.approx([2 / 12 ** 0.5, 1 / 12 ** 0.5], abs=0.03)


def test_without_a_box_they_are_on_lines_or_shaken_about(generator):
    start, end = torch.zeros(4000, 3), torch.ones(4000, 3)
    made = strangers(start, end, generator, shake_rad=0.01)
    on_line = ((made - made[:, :1]).abs() < 1e-6).all(1)
    assert made.shape == (4000, 3) and on_line.float().mean() == pytest.approx(0.5, abs=0.05)
    assert ((made[on_line] >= 0) & (made[on_line] <= 1)).all() and (made[~on_line].abs() < 0.1).all()


def test_equal_generators_give_equal_strangers():
    play, box = torch.randn(50, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    for how in ({}, {'box_rad': box}, {'shake_rad': 0.5}):
        one, same = (strangers(play, play.flip(0), torch.Generator().manual_seed(2), **how) for _ in range(2))
        assert torch.equal(one, same)


@pytest.mark.parametrize('octaves', [0, 1, 5])
def test_the_head_takes_any_leading_shape_with_any_number_of_octaves(octaves):
    head = FamiliarityHead(joints=3, octaves=octaves)
    assert head.net[0].in_features == 3 * (1 + 2 * octaves)     # each joint, and a sine and a cosine of it per octave
    assert head(torch.randn(4, 7, 3)).shape == (4, 7) and head(torch.randn(3)).shape == ()


def test_octaves_add_nothing_to_the_weights_that_are_saved():
    assert set(FamiliarityHead(3, octaves=5).state_dict()) == set(FamiliarityHead(3).state_dict())


def test_with_a_box_what_is_far_from_play_becomes_strange(generator):
    torch.manual_seed(0)
    play = 0.3 * torch.randn(2000, 2, generator=generator)
    head, box = FamiliarityHead(2, width=32), torch.tensor([[-4.0, -4.0], [4.0, 4.0]])
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    for _ in range(150):
        loss, _ = familiarity_loss(head, lambda position: position, play, 256, generator, box_rad=box)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    floor = fit_floor(head, lambda position: position, play, margin=1.0)
    with torch.no_grad():
        assert (head(play) > floor).float().mean() > 0.99
        assert (head(torch.tensor([[3.0, 3.0], [-3.0, 3.0], [3.0, -3.0], [0.0, -3.0]])) < floor).all()

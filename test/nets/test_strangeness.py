"""How unlike play a picture is: colours and places by hand, limits from pictures that were held out."""
import numpy as np
import pytest
import torch

from diffusion_planner.nets.strangeness import MISSING_SHARE, SHARE, SIGHTINGS, Strangeness

torch.set_num_threads(1)

SIZE_PX = 16                      # 4 x 4 cells of 4 pixels, 3 x 3 patches of 8 every 4
GREY, RED, BLUE = (100, 100, 100), (250, 10, 10), (10, 10, 250)


def _pictures(count, colour=GREY):
    return torch.tensor(colour, dtype=torch.uint8).expand(count, SIZE_PX, SIZE_PX, 3).clone()


def _paint(pixels, colour, rows, columns):
    pixels[:, rows, columns] = torch.tensor(colour, dtype=torch.uint8)
    return pixels


@pytest.fixture
def strangeness():
    return Strangeness(latent=2, size_px=SIZE_PX)


def test_pixels_of_a_colour_that_play_never_showed_there_are_counted(strangeness):
    strangeness.learn_colours([_pictures(3)])
    assert strangeness.colours_unknown(_pictures(2)).tolist() == [0, 0]
    odd = _paint(_pictures(2), RED, slice(0, 2), slice(0, 3))          # two rows of three pixels
    odd[1, 9, 9] = torch.tensor(BLUE, dtype=torch.uint8)
    assert strangeness.colours_unknown(odd).tolist() == [6, 7]


def test_a_colour_is_known_where_play_showed_it_and_nowhere_else(strangeness):
    play = _paint(_pictures(3), RED, slice(0, 4), slice(0, 4))         # the first cell is red in all pictures
    strangeness.learn_colours([play])
    assert strangeness.colours_unknown(_paint(_pictures(1), RED, slice(0, 2), slice(0, 2))).item() == 16 - 4   # grey was not seen there
    assert strangeness.colours_unknown(_paint(play[:1].clone(), RED, slice(8, 10), slice(8, 10))).item() == 4


def test_a_colour_is_known_from_its_third_sighting_and_batches_add_up(strangeness):
    assert SIGHTINGS == 3
    seen = _pictures(1)
    seen[0, 5, 5] = torch.tensor(RED, dtype=torch.uint8)
    for batches, unknown in (([seen, seen], 1), ([seen, seen, seen], 0), ([torch.cat([seen] * 3)], 0)):
        strangeness.learn_colours([_pictures(3), *batches])
        assert strangeness.colours_unknown(seen).item() == unknown


def test_colours_in_one_of_eight_steps_per_channel_are_the_same_colour(strangeness):
    strangeness.learn_colours([_pictures(3, (96, 96, 96))])            # steps of 32: 96 to 127 are one
    assert strangeness.colours_unknown(_pictures(1, (127, 96, 100))).item() == 0
    assert strangeness.colours_unknown(_pictures(1, (128, 96, 100))).item() == SIZE_PX ** 2


def test_a_small_thing_that_is_always_there_is_missed_when_it_is_not(strangeness):
    # A ball of 4 pixels of 256, 1.6 %, anywhere in the picture.
    play = torch.cat([_paint(_pictures(1), RED, slice(row, row + 2), slice(row, row + 2)) for row in range(10)])
    strangeness.learn_colours([play])
    assert strangeness.is_missing(play).tolist() == [False] * 10
    assert strangeness.is_missing(_pictures(2)).tolist() == [True, True]
    assert strangeness.is_missing(_paint(_pictures(1), RED, slice(12, 13), slice(3, 4))).tolist() == [False]   # a pixel of it is enough
    assert int(strangeness.signature.sum()) == 1                       # the grey is there too, but it is not small


@pytest.mark.parametrize('size, share', [(3, 1.0), (2, 0.8)])
def test_what_is_large_or_not_nearly_always_there_is_not_missed(strangeness, size, share):
    # 9 pixels of 256 are 3.5 %, more than small; in 8 of 10 pictures is less than nearly always.
    shown = int(10 * share)
    strangeness.learn_colours([_paint(_pictures(shown), RED, slice(4, 4 + size), slice(4, 4 + size)), _pictures(10 - shown)])
    assert not strangeness.signature.any() and not strangeness.is_missing(_pictures(1)).any()


def test_what_the_decoder_misses_is_the_mean_difference_per_patch(strangeness):
    # Decoded as black, the picture differs from it by 100 / 255 everywhere; one white corner pixel by 1 in 1 of 64 pixels of one patch.
    pixels = _pictures(1)
    pixels[0, 0, 0] = 255
    missed = strangeness.missed(torch.zeros(1, 3, SIZE_PX, SIZE_PX), pixels)
    expected = torch.full((1, 3, 3), 100 / 255)
    expected[0, 0, 0] = (63 * 100 / 255 + 1) / 64
    torch.testing.assert_close(missed, expected)


def test_the_distance_of_a_latent_is_in_deviations_of_play(strangeness):
    # Latents about (1, 2) with deviations 2 and 0.5: (5, 2) is two deviations away, (1, 3) too.
    latent = torch.randn(20000, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, 2.0])
    strangeness.learn_latents(latent, torch.zeros(len(latent), dtype=torch.bool))
    away = strangeness._distance('all', torch.tensor([[1.0, 2.0], [5.0, 2.0], [1.0, 3.0]]))
    assert away.tolist() == pytest.approx([0, 2, 2], abs=0.05)
    torch.testing.assert_close(strangeness.hidden_centre, strangeness.all_centre)    # too few in which something is hidden


def test_latents_of_pictures_in_which_something_is_hidden_are_a_kind_of_their_own(strangeness):
    latent = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    missing = torch.arange(2000) < 500
    latent[missing] += 10
    strangeness.learn_latents(latent, missing)
    torch.testing.assert_close(strangeness.hidden_centre, latent[missing].mean(0))


class Play:
    """Pictures of play with noise in the grey and a ball in most of them, and what a decoder that never gets the noise right misses."""

    def __init__(self, seed, count=400):
        random = np.random.default_rng(seed)
        pixels = _pictures(count).numpy().astype(int) + random.integers(-3, 4, (count, SIZE_PX, SIZE_PX, 1))
        for picture in pixels:
            if random.random() < 0.95:
                row, column = random.integers(0, SIZE_PX - 2, 2)
                picture[row:row + 2, column:column + 2] = RED
        self.pixels, self.decoded = torch.from_numpy(pixels.astype(np.uint8)), torch.full((count, 3, SIZE_PX, SIZE_PX), 100 / 255)
        self.latent = torch.from_numpy(random.normal(size=(count, 2)).astype(np.float32))


@pytest.fixture
def learned(strangeness):
    play, held_out = Play(0, 2000), Play(1)
    strangeness.learn_colours(play.pixels.split(100))
    strangeness.learn_latents(play.latent, strangeness.is_missing(play.pixels))
    strangeness.fit_limits(held_out.pixels, strangeness.missed(held_out.decoded, held_out.pixels), held_out.latent)
    return strangeness


def _figures(learned, play):
    return learned(play.pixels, learned.missed(play.decoded, play.pixels), play.latent)


def test_limits_are_quantiles_of_the_second_half_of_held_out_pictures(learned):
    held_out = Play(1)
    figures = learned.figures(held_out.pixels, learned.missed(held_out.decoded, held_out.pixels), held_out.latent)[200:].numpy()
    expected = np.quantile(figures, 1 - SHARE, axis=0) + np.array([2, 0, 0, 0])    # two pixels of any colour are nothing
    expected[3] = np.quantile(figures[:, 3], 1 - MISSING_SHARE)
    np.testing.assert_allclose(learned.limit.numpy(), expected, rtol=1e-5)


def test_pictures_like_those_of_play_are_below_every_limit(learned):
    beyond = (_figures(learned, Play(2)) > 1).float().mean(0)
    assert (beyond <= torch.tensor([0.02, 0.02, 0.02, 0.04])).all()


def test_a_patch_of_a_colour_that_nobody_saw_is_strange(learned):
    odd = Play(2, 20)
    odd.pixels = _paint(odd.pixels, BLUE, slice(6, 10), slice(6, 10))
    figures = dict(zip(Strangeness.FIGURES, _figures(learned, odd).T))
    assert (figures['colours'] > 1).all() and (figures['picture'] > 1).all()
    assert (figures['latent'] < 1).float().mean() >= 0.9              # that one is as it was


def test_a_latent_from_elsewhere_is_strange(learned):
    odd = Play(2, 20)
    odd.latent += 20
    assert (_figures(learned, odd)[:, 2] > 1).all()


def test_what_is_missing_only_counts_where_it_is_missing(learned):
    play = Play(2)
    missing = learned.is_missing(play.pixels)
    figures = _figures(learned, play)[:, 3]
    assert 0 < missing.sum() < len(missing)
    assert (figures[missing] > 0).all() and (figures[~missing] == 0).all()


def test_figures_are_numbers_where_nothing_was_ever_missing(strangeness):
    """The quantile of what is missing is 0 then, and no limit to divide by."""
    pixels, latent = _pictures(100), torch.randn(100, 2)
    strangeness.learn_colours([pixels])
    strangeness.learn_latents(latent, strangeness.is_missing(pixels))
    missed = strangeness.missed(torch.zeros(100, 3, SIZE_PX, SIZE_PX), pixels)
    strangeness.fit_limits(pixels, missed, latent)
    figures = strangeness(pixels, missed, latent)
    assert figures.isfinite().all() and (figures[:, 3] == 0).all()


def test_it_is_kept_with_the_weights(learned):
    again = Strangeness(latent=2, size_px=SIZE_PX)
    again.load_state_dict(learned.state_dict())
    torch.testing.assert_close(_figures(again, Play(3)), _figures(learned, Play(3)))

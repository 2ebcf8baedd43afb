"""Speakers are numbers: the same ones in whatever company, and independent traits."""

import numpy as np

from recipes.planted.synthesiser import HEARD_TRAITS, SEEN_TRAITS, SHARED_TRAITS, draw_traits, voice_of


def test_a_speaker_is_the_same_in_whatever_company() -> None:
    alone, among = draw_traits(range(7, 8), seed=3), draw_traits(range(5, 10), seed=3)
    np.testing.assert_array_equal(alone.shared[0], among.shared[2])
    np.testing.assert_array_equal(alone.seen[0], among.seen[2])


def test_traits_are_standard_normal_and_independent() -> None:
    traits = draw_traits(range(4000), seed=0)
    everything = np.concatenate([traits.shared, traits.heard, traits.seen], axis=1)
    assert everything.shape == (4000, len(SHARED_TRAITS) + len(HEARD_TRAITS) + SEEN_TRAITS)
    np.testing.assert_allclose(everything.mean(0), 0, atol=0.07)  # 4.4 standard errors
    np.testing.assert_allclose(np.cov(everything.T), np.eye(everything.shape[1]), atol=0.11)


def test_every_heard_trait_changes_one_thing_of_the_voice() -> None:
    middle = vars(voice_of(np.zeros(len(SHARED_TRAITS)), np.zeros(len(HEARD_TRAITS))))
    changed = []
    for k in range(len(SHARED_TRAITS) + len(HEARD_TRAITS)):
        traits = np.eye(len(SHARED_TRAITS) + len(HEARD_TRAITS))[k]
        voice = vars(voice_of(traits[: len(SHARED_TRAITS)], traits[len(SHARED_TRAITS) :]))
        (name,) = [name for name in voice if voice[name] != middle[name]]
        changed.append(name)
    assert sorted(changed) == sorted(middle)

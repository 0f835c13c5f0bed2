"""After a proposal was taken the members' votes fit it, and where it was not taken they are as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shifted_case import NETWORK, SCHEMA, SPLEEN, corrected, regions_on, shifted_case

from activeseg.core.errors import InputError
from activeseg.core.votes import Member, MemberKind, Segmented
from activeseg.refiners.adapted_votes import adapted_votes
from activeseg.refiners.spreading import Spread, spread
from activeseg.review.regions import find_regions

REGIONS = regions_on(NETWORK)


def proposal(members: int = 4) -> Spread:
    case, truth = shifted_case(members)
    return spread(corrected(case, truth, REGIONS), REGIONS)


def test_labels_are_those_that_were_taken_outside_of_what_was_decided() -> None:
    found = proposal()
    votes = adapted_votes(found, found.labels())
    moved = found.labels() != found.case.labels
    as_predicted = ~moved & (found.case.labels == found.case.predicted)
    assert (votes.labels[moved] == found.labels()[moved]).all()
    assert (votes.labels == found.case.votes.labels)[as_predicted].all()


def test_a_lone_member_votes_for_the_label() -> None:
    found = proposal(members=1)
    votes = adapted_votes(found, found.labels())
    assert (votes.votes[0] == votes.labels).all()
    assert votes.variance is None
    assert votes.mutual_information is None


def test_measures_are_those_of_the_members_who_all_learned_the_same() -> None:
    found = proposal(members=2)
    votes = adapted_votes(found, found.labels())
    (term,), (kept,) = found.terms, found.case.votes.features
    assert term is not None
    at = np.nonzero(votes.labels != found.case.votes.labels)
    features = [np.float64(member[:, *at]) for member in kept.features]
    p = []
    for own, weights, biases in zip(features, kept.weights, kept.biases, strict=True):
        logits = weights @ own + biases[:, None]
        logits[term.rows] += term.weights @ np.concatenate(features) + term.biases[:, None]
        p.append(np.exp(logits) / np.exp(logits).sum(axis=0))

    def entropy(q):
        return -(q * np.log(q)).sum(axis=0)

    mean = (p[0] + p[1]) / 2
    alone = (entropy(p[0]) + entropy(p[1])) / 2
    variance = ((p[0] ** 2).sum(axis=0) + (p[1] ** 2).sum(axis=0)) / 2 - (mean**2).sum(axis=0)
    np.testing.assert_allclose(votes.entropy[at], entropy(mean) / np.log(4), atol=1e-4)
    np.testing.assert_allclose(votes.variance[at], variance / 0.5, atol=1e-4)
    np.testing.assert_allclose(votes.mutual_information[at], (entropy(mean) - alone) / np.log(2), atol=1e-4)
    for vote, q in zip(votes.votes, p, strict=True):
        assert (vote[at] == q.argmax(axis=0)).all()


def test_where_nothing_was_taken_everything_is_as_it_was() -> None:
    found = proposal()
    before = found.case.votes
    votes = adapted_votes(found, found.case.labels)
    refused = found.labels() != found.case.labels
    assert (votes.labels == before.labels)[refused].all()
    assert (votes.entropy == before.entropy)[refused].all()
    assert all((now == then)[refused].all() for now, then in zip(votes.votes, before.votes, strict=True))


def test_views_are_no_members_afterwards() -> None:
    case, truth = shifted_case()
    view = Member("noise", MemberKind.VIEW)
    grid = replace(case.votes, members=(*case.votes.members, view), votes=(*case.votes.votes, case.votes.labels))
    found = spread(corrected(replace(case, votes=grid), truth, REGIONS), REGIONS)
    assert adapted_votes(found, found.labels()).members == case.votes.members


def test_regions_can_be_found_again_on_the_new_state() -> None:
    found = proposal()
    votes = adapted_votes(found, found.labels())
    regions = find_regions(Segmented(found.labels(), SCHEMA, SCHEMA.names, votes), NETWORK)
    assert regions
    for region in regions:
        assert sum(region.votes.values()) == len(votes.members)
        for alternative in region.alternatives:
            assert (alternative.labels != found.labels()[region.slices])[alternative.changed].all()


def test_spreading_again_starts_from_what_was_learned() -> None:
    found = proposal()
    taken = found.labels()
    again = replace(found.case, votes=adapted_votes(found, taken), predicted=taken, labels=taken.copy())
    with pytest.raises(InputError, match="Nothing that the model knows was corrected"):
        spread(again, REGIONS)
    spleen = np.argwhere(taken == SPLEEN)
    assert len(spleen)

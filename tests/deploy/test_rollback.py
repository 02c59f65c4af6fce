"""Rollback over any history, also one that was edited behind its back."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import example, given
from hypothesis import strategies as st

from deploy.promotion import PromotionError, history, promote, rollback

NAME = "m"
VERSIONS = ("1", "2", "3", "4")


class Memory(list):
    """One page of versions."""

    token = None


class MemoryClient:
    """What of MLflow's client promoting uses: one model, in memory."""

    def __init__(self):
        self.tags = {}
        self.stages = dict.fromkeys(VERSIONS, "None")

    def get_registered_model(self, _name):
        return SimpleNamespace(tags=dict(self.tags), aliases={})

    def set_registered_model_tag(self, _name, key, value):
        self.tags[key] = value

    def delete_registered_model_tag(self, _name, key):
        del self.tags[key]

    def search_model_versions(self, _query, **_page):
        return Memory(self.get_model_version(NAME, version) for version in self.stages)

    def get_model_version(self, _name, version):
        tags = {"hotgate.parity": "pass", "hotgate.sha256": version * 64}
        return SimpleNamespace(version=version, current_stage=self.stages[version], tags=tags, description="")

    def update_model_version(self, _name, version, description):
        pass

    def transition_model_version_stage(self, _name, version, stage, *, archive_existing_versions):
        assert archive_existing_versions
        self.stages.update({other: "Archived" for other, held in self.stages.items() if held == stage})
        self.stages[version] = stage

    def serving(self):
        return next((version for version, stage in self.stages.items() if stage == "Production"), None)


def back(client):
    """Roll back once; what serves then, or None where it refuses and so leaves all as it was."""
    before = dict(client.stages), dict(client.tags)
    try:
        return rollback(client, NAME, who="eve", reason="r").decision.after
    except PromotionError:
        assert (client.stages, client.tags) == before
        return None


def act(client, action, version):
    if action == "back":
        back(client)
    elif version not in client.stages:
        return
    elif action == "by hand":
        client.transition_model_version_stage(NAME, version, "Production", archive_existing_versions=True)
    elif action == "delete":
        del client.stages[version]
    elif client.serving() != version:
        promote(client, NAME, version, who="ada", reason="r")


def actions(*names):
    return st.lists(st.tuples(st.sampled_from(names), st.sampled_from(VERSIONS)), max_size=14)


@given(actions("promote", "by hand", "delete", "back"))
@example([*(("promote", version) for version in "1232"), ("delete", "3")])
def test_rollback_goes_to_what_served_before(steps):
    """A pile of what decisions saw serving, kept from the outside: the next one down that is still there."""
    client, pile = MemoryClient(), []
    for action, version in [*steps, *[("back", "1")] * 4]:
        current = client.serving()
        seen = pile if current in {None, *pile[-1:]} else [*pile, current]
        left = [item for item in seen if item in client.stages]
        while left and left[-1] == current:
            left.pop()
        act(client, action, version)
        if action == "back":
            assert client.serving() == (left[-1] if left else current)
            pile = seen[: len(seen) - seen[::-1].index(left[-1])] if left else pile
        elif action == "promote" and client.serving() != current:
            pile = [*seen, version]


@given(actions("promote", "by hand", "delete", "back"), st.sets(st.integers(0, 13)))
def test_rollback_over_an_edited_history_ends_and_never_goes_astray(steps, lost):
    """With decisions deleted too: each step goes to another version, which is there and is named by what is left."""
    client = MemoryClient()
    for action, version in steps:
        act(client, action, version)
    for number, key in enumerate(sorted(client.tags)):
        if number in lost:
            del client.tags[key]
    decisions = history(client, NAME)
    named = {item.after for item in decisions} | {item.before for item in decisions}
    for _ in range(2 * len(decisions) + 2):
        current = client.serving()
        after = back(client)
        if after is None:
            break
        assert after != current
        assert after in named & set(client.stages)
        assert client.serving() == after
    else:
        raise AssertionError("rolling back does not end")

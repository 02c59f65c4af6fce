"""What the protocol makes of the models that serve: each found by name and version, with its inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

from gateway.errors import NotFound, NotReady
from gateway.v2 import words
from gateway.v2.inputs import Inputs
from gateway.v2.outputs import Outputs

if TYPE_CHECKING:
    from gateway.generation import Generation
    from gateway.models import Models

__all__ = ["View", "Views"]


class View(NamedTuple):
    """One generation as the protocol sees it."""

    inputs: Inputs
    outputs: Outputs


class Views:
    """Finds models in the protocol's words."""

    def __init__(self, models: Models) -> None:
        self._find = models.find
        # Made at a generation's first request, gone with it; a second one made by another thread is the same.
        self._known: WeakKeyDictionary[Generation, View] = WeakKeyDictionary()

    def find(self, model: str, version: str | None = None) -> Generation:
        """The generation that serves a model, which must be of the version if one is given.

        Raises:
            NotFound: no such model, or another version serves.
            NotReady: it is not loaded yet.
        """
        try:
            generation = self._find(model)
        except NotFound:
            raise NotFound(words.unknown_model(model)) from None
        except NotReady:
            raise NotReady(words.not_ready(model)) from None
        if version is not None and version != generation.version:
            raise NotFound(words.unknown_version(model, version, generation.version))
        return generation

    def of(self, generation: Generation) -> View:
        """The view of a generation."""
        view = self._known.get(generation)
        if view is None:
            signature = generation.engine.metadata.signature
            view = View(Inputs(generation.name, signature), Outputs(generation.name, signature))
            self._known[generation] = view
        return view

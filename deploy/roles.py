"""Who has a role in the registry, by stage or by alias, and giving it to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.decisions import quiet_stages
from deploy.fitness import PromotionError
from gateway.sync.resolve import Selector

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["give", "holders_of", "role_target", "versions_of"]


def give(client: MlflowClient, name: str, version: str, target: Selector) -> None:
    """Move a role in one call, so that it is never empty: by the same call the others lose a stage."""
    if target.kind == "alias":
        client.set_registered_model_alias(name, target.value, version)
        return
    with quiet_stages():
        client.transition_model_version_stage(name, version, target.value, archive_existing_versions=True)


def holders_of(client: MlflowClient, name: str, target: Selector) -> list[str]:
    """Who has a role now, the one that is served first."""
    if target.kind == "alias":
        aliases: dict[str, str] = client.get_registered_model(name).aliases
        return [str(aliases[target.value])] if target.value in aliases else []
    versions = [int(item.version) for item in versions_of(client, name) if item.current_stage == target.value]
    return [str(number) for number in sorted(versions, reverse=True)]


def versions_of(client: MlflowClient, name: str) -> list[ModelVersion]:
    """All versions of a model, however many."""
    quote = '"' if "'" in name else "'"
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(f"name={quote}{name}{quote}", max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def role_target(to: str, champion: str, challenger: str) -> Selector:
    """The mark behind a role's name, by the settings; or the mark itself.

    Raises:
        PromotionError: it is neither.
    """
    settings = {"production": champion, "champion": champion, "staging": challenger, "challenger": challenger}
    try:
        return Selector.parse(settings.get(to.lower(), to))
    except ValueError as error:
        raise PromotionError(f"to: {error}") from None

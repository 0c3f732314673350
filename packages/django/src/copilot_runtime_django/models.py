"""What the admin reads of stored threads. The tables belong to the store, and only it writes to them."""

from __future__ import annotations

from django.db import models
from django.utils.text import Truncator

from ._columns import StoredBooleanField, StoredFloatField, StoredIntegerField, StoredTextField
from ._databases import SCHEMA

MAX_TITLE_LENGTH = 100
"""How much of a thread's name, or of its id, is its title in lists."""


class NoThreads(models.Manager["Thread"]):
    """Has no rows, so that `dumpdata` and `loaddata` leave the tables alone: a row without its runs is of no use."""

    def get_queryset(self) -> models.QuerySet[Thread]:
        return super().get_queryset().none()


class Thread(models.Model):
    """A thread of a store that `copilot_runtime_django.django_store` has created."""

    id: models.BigAutoField[int, int] = models.BigAutoField(primary_key=True)
    owner: models.TextField[str, str] = StoredTextField()
    thread_id: models.TextField[str, str] = StoredTextField()
    agent_id: models.TextField[str, str] = StoredTextField()
    name: models.TextField[str | None, str | None] = StoredTextField(null=True)
    archived: models.BooleanField[bool, bool] = StoredBooleanField()
    created_at: models.FloatField[float, float] = StoredFloatField()
    updated_at: models.FloatField[float, float] = StoredFloatField()
    used_at: models.FloatField[float, float] = StoredFloatField()
    runs: models.IntegerField[int, int] = StoredIntegerField()

    is_active = False
    """Whether it has an active run. Set by queries that ask for it."""
    user_name: str | None = None
    """The name of its user, where that was looked up."""

    objects = NoThreads()
    stored = models.Manager["Thread"]()

    class Meta:
        managed = False
        db_table = f'"{SCHEMA}"."threads"'
        base_manager_name = "objects"
        default_permissions = ("view", "delete")

    def __str__(self) -> str:
        # Clients choose both.
        return Truncator(self.name or self.thread_id).chars(MAX_TITLE_LENGTH)

"""The admin of stored threads, which only reads them, or deletes them through their store."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import DatabaseError, connections, router
from django.db.models import BooleanField, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import linebreaksbr
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.text import Truncator

from copilot_runtime.stores import RunStore, StoreError
from copilot_runtime.stores.protocol import ThreadKey

from ._databases import SCHEMA, find_database
from ._store import aliases_of_project, store_in
from ._stored_threads import MAX_RUNS, as_time, select_runs, user_of
from .models import Thread

logger = logging.getLogger("copilot_runtime.django")

MAX_MESSAGES = 200
"""How many messages of a thread are shown, the last ones."""

MAX_TEXT_LENGTH = 10_000
"""How much of a message is shown."""

MAX_USERS = 100
"""How many users whose names match are searched for."""

MAX_SWEEPS = 100
"""How many pieces of what was deleted are removed at once. The rest is removed while runs are stored."""

_IS_ACTIVE = f'"{SCHEMA}"."threads"."id" IN (SELECT thread FROM "{SCHEMA}"."live")'


class ActivityFilter(admin.SimpleListFilter):
    """Shows the threads with an active run, or the others."""

    title = "activity"
    parameter_name = "active"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[str, str]]:
        return [("1", "Active run"), ("0", "No active run")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else queryset.filter(is_active=self.value() == "1")


if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Thread]
else:
    _ModelAdmin = admin.ModelAdmin


class ThreadAdmin(_ModelAdmin):
    """Lists the threads of `django_store`, and shows the runs and messages of each.

    To change it, unregister it, and register a subclass.
    """

    user_field: ClassVar[str | None] = "pk"
    """The field of Django's users in which the ``id`` of the runtime's users is, for their names; None for no names."""

    list_display = ("__str__", "user", "agent", "run_count", "active", "created", "updated", "is_archived")
    list_filter = (ActivityFilter, "archived")
    search_fields = ("thread_id", "name", "owner", "agent_id")
    search_help_text = "A user's name or id, the id or the name of a thread, or an agent"
    ordering = ("-used_at",)
    show_full_result_count = False
    readonly_fields = (
        "thread",
        "title",
        "user",
        "agent",
        "is_archived",
        "created",
        "updated",
        "run_list",
        "message_list",
    )
    fieldsets = (
        (None, {"fields": ("thread", "title", "user", "agent", "is_archived", "created", "updated")}),
        ("Runs", {"fields": ("run_list",)}),
        ("Messages", {"fields": ("message_list",)}),
    )

    # --- what is allowed ---

    def has_module_permission(self, request: HttpRequest) -> bool:
        # Not on the pages of sites that use the app without storing threads in their database.
        return super().has_module_permission(request) and (bool(aliases_of_project()) or _has_tables(_alias()))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Thread | None = None) -> bool:
        return False

    # --- what is found ---

    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        alias = _alias()
        threads = Thread.stored.using(alias) if _has_tables(alias) else Thread.objects.all()
        is_active = RawSQL(_IS_ACTIVE, (), output_field=BooleanField())
        return threads.annotate(is_active=is_active).order_by(*self.ordering)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Thread], search_term: str
    ) -> tuple[QuerySet[Thread], bool]:
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        owners = Q()
        if search_term:
            if not search_term.isascii():  # an owner is JSON, in which these characters are escaped
                owners |= Q(owner__contains=json.dumps(search_term)[1:-1])
            for user_id in self._ids_of_users(search_term):
                owners |= Q(owner__endswith=f",{json.dumps(user_id)}]")
        return (found | queryset.filter(owners) if owners else found), may_have_duplicates

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)
        self._add_user_names(changes.result_list)
        return changes

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Thread | None:
        thread = super().get_object(request, object_id, from_field)
        self._add_user_names([] if thread is None else [thread])
        return thread

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        def view() -> HttpResponse:
            alias = _alias()
            if not _has_tables(alias):
                text = f"There are no tables for threads in the database {alias!r}: run manage.py migrate."
                messages.warning(request, text)
            return super(ThreadAdmin, self).changelist_view(request, extra_context)

        return self._unless_store_fails(request, view)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        return self._unless_store_fails(
            request, lambda: super(ThreadAdmin, self).changeform_view(request, object_id, form_url, extra_context)
        )

    # --- what is shown ---

    @admin.display(description="thread id")
    def thread(self, thread: Thread) -> str:
        return thread.thread_id

    @admin.display(description="name")
    def title(self, thread: Thread) -> str:
        return thread.name or "-"

    @admin.display(description="user", ordering="owner")
    def user(self, thread: Thread) -> str:
        try:
            user = user_of(thread.owner)
        except ValueError:  # of a store that somebody else has filled
            return thread.owner
        if user is None:
            return "-"
        text = user.id if thread.user_name is None else f"{thread.user_name} ({user.id})"
        return text if user.tenant is None else f"{text}, {user.tenant}"

    @admin.display(description="agent", ordering="agent_id")
    def agent(self, thread: Thread) -> str:
        return thread.agent_id or "-"

    @admin.display(description="runs", ordering="runs")
    def run_count(self, thread: Thread) -> int:
        return thread.runs

    @admin.display(description="active", boolean=True, ordering="is_active")
    def active(self, thread: Thread) -> bool:
        return thread.is_active

    @admin.display(description="created", ordering="created_at")
    def created(self, thread: Thread) -> str:
        return _format_time(as_time(thread.created_at))

    @admin.display(description="updated", ordering="updated_at")
    def updated(self, thread: Thread) -> str:
        return _format_time(as_time(thread.updated_at))

    @admin.display(description="archived", boolean=True, ordering="archived")
    def is_archived(self, thread: Thread) -> bool:
        return bool(thread.archived)

    @admin.display(description="newest first")
    def run_list(self, thread: Thread) -> str:
        runs = select_runs(connections[_alias()], thread.pk)
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (
                    run.run_id,
                    run.agent_id,
                    f"{run.outcome} ({run.detail})" if run.detail else run.outcome,
                    _format_time(run.started_at),
                    _format_time(run.ended_at),
                    run.duration,
                )
                for run in runs
            ),
        )
        heads = "<th>run</th><th>agent</th><th>outcome</th><th>started</th><th>ended</th><th>took</th>"
        more = format_html("<p>The newest {} of {} runs.</p>", MAX_RUNS, thread.runs) if thread.runs > MAX_RUNS else ""
        return format_html("<table><thead><tr>" + heads + "</tr></thead><tbody>{}</tbody></table>{}", rows, more)

    @admin.display(description="oldest first")
    def message_list(self, thread: Thread) -> str:
        try:
            found = _store().messages(_key(thread))
        except StoreError:
            logger.exception("the messages of a thread cannot be read")
            return "The messages cannot be read; the log says why."
        shown = found[-MAX_MESSAGES:]
        more = format_html("<p>The last {} of {} messages.</p>", len(shown), len(found)) if shown != found else ""
        rows = format_html_join(
            "",
            "<tr><th>{}</th><td>{}</td></tr>",
            ((message.get("role", ""), linebreaksbr(_text(message))) for message in shown),
        )
        return format_html("{}<table><tbody>{}</tbody></table>", more, rows)

    # --- deleting ---

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        threads = list(objs)
        perms_needed = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        return list(map(str, threads)), {str(self.opts.verbose_name_plural): len(threads)}, perms_needed, []

    def delete_model(self, request: HttpRequest, obj: Thread) -> None:
        self._delete([obj])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        self._delete(queryset)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return self._unless_store_fails(
            request, lambda: super(ThreadAdmin, self).delete_view(request, object_id, extra_context)
        )

    def _delete(self, threads: Iterable[Thread]) -> None:
        store = _store()
        for thread in list(threads):
            store.delete(_key(thread))
        for _ in range(MAX_SWEEPS):
            if not store.sweep():
                break

    def _unless_store_fails(self, request: HttpRequest, view: Callable[[], Any]) -> HttpResponse:
        try:
            response: HttpResponse = view()
        except StoreError:
            logger.exception("the store of the threads failed")
            messages.error(request, "The threads could not be deleted; the log says why.")
            return HttpResponseRedirect(reverse(f"{self.admin_site.name}:copilot_runtime_django_thread_changelist"))
        except DatabaseError:
            logger.exception("the tables of the threads cannot be read")
            messages.error(request, "The threads cannot be read; the log says why.")
            return HttpResponseRedirect(reverse(f"{self.admin_site.name}:index"))
        return response

    # --- users ---

    def _ids_of_users(self, name: str) -> Sequence[str]:
        """Returns the ids of the users whose names contain a text."""
        if self.user_field is None:
            return []
        model = get_user_model()
        found = model._default_manager.filter(**{f"{model.USERNAME_FIELD}__icontains": name})
        return [str(value) for value in found.values_list(self.user_field, flat=True)[:MAX_USERS]]

    def _add_user_names(self, threads: Iterable[Any]) -> None:
        """Looks the names of the users of threads up, with one query."""
        if self.user_field is None:
            return
        model = get_user_model()
        field: Any = model._meta.pk if self.user_field == "pk" else model._meta.get_field(self.user_field)
        by_id: dict[Any, list[Any]] = {}
        for thread in threads:
            try:
                owner = user_of(thread.owner)
                if owner is not None:
                    by_id.setdefault(field.to_python(owner.id), []).append(thread)
            except (ValueError, TypeError, ValidationError):  # an id that no user of Django's can have
                continue
        for user in model._default_manager.filter(**{f"{self.user_field}__in": list(by_id)}) if by_id else ():
            for thread in by_id.get(getattr(user, self.user_field), ()):
                thread.user_name = user.get_username()


def _alias() -> str:
    """Returns the database whose threads are shown: the one that has a store, or what the routers say."""
    aliases = aliases_of_project()
    return aliases[0] if len(aliases) == 1 else router.db_for_read(Thread)


def _store() -> RunStore:
    return store_in(_alias())


def _has_tables(alias: str) -> bool:
    try:
        return find_database(alias).has_tables(connections[alias])
    except ImproperlyConfigured:
        return False


def _key(thread: Thread) -> ThreadKey:
    decode = find_database(_alias()).decode
    return ThreadKey(decode(thread.owner), decode(thread.thread_id))


def _format_time(value: datetime | None) -> str:
    """Returns a time as the locale has it, with its seconds."""
    if value is None:
        return "-"
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return f"{localize(local.date())}, {local:%H:%M:%S}"


def _text(message: Mapping[str, Any]) -> str:
    """Returns what a message says, and what it calls."""
    content = message.get("content")
    parts = [content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)] if content else []
    for call in message.get("toolCalls") or ():
        function = call.get("function") or {}
        parts.append(f"{function.get('name')}({function.get('arguments')})")
    return Truncator("\n".join(parts)).chars(MAX_TEXT_LENGTH)


admin.site.register(Thread, ThreadAdmin)

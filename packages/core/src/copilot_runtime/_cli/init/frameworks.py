"""The frameworks for which ``copilot-runtime init`` writes applications."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """How an application is written and run.

    Attributes:
        templates: folders of templates, of which later ones replace files of earlier ones.
        commands: what to run in the application's folder.
        sign_in: how to sign in.
    """

    templates: tuple[str, ...]
    commands: tuple[str, ...]
    sign_in: str


_ADA = "sign in as ada with the password lovelace"

FRAMEWORKS: Mapping[str, Framework] = {
    "flask": Framework(
        templates=("common", "web", "flask"), commands=("pytest", "flask run --port 8000 --debug"), sign_in=_ADA
    ),
    "django": Framework(
        templates=("common", "django"),
        commands=(
            "python manage.py migrate",
            "python manage.py createsuperuser",
            "python manage.py test",
            "python manage.py runserver 8000",
        ),
        sign_in="sign in with what you have chosen for createsuperuser",
    ),
    "fastapi": Framework(
        templates=("common", "web", "fastapi"), commands=("pytest", "fastapi dev app.py --port 8000"), sign_in=_ADA
    ),
}
"""By the name that the command line knows them by."""

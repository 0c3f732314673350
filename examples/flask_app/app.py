"""A Flask application with a login and a page; the last lines add the runtime."""

from __future__ import annotations

import os

import todos
from agents import secretary
from flask import Flask, redirect, render_template_string, request
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from werkzeug.security import check_password_hash, generate_password_hash

from copilot_runtime import CopilotRuntime, Request, User
from copilot_runtime_flask import create_copilot_blueprint

PASSWORDS = {"ada": generate_password_hash("lovelace"), "bob": generate_password_hash("builder")}
LOGIN = "<form method=post><input name=name><input name=password type=password><button>Sign in</button></form>"
PAGE = "<h1>To do</h1><ul>{% for todo in todos %}<li>{{ todo }}</li>{% endfor %}</ul>"

app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ["SECRET_KEY"],
    SESSION_COOKIE_SAMESITE="Lax",
    MAX_CONTENT_LENGTH=32 * 1024 * 1024,  # the frontend sends the whole conversation with every request
)
todos.init_app(app)
logins = LoginManager(app)
logins.login_view = "login"


class Account(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


@logins.user_loader
def account(name: str) -> Account | None:
    return Account(name) if name in PASSWORDS else None


@app.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    name, password = request.form.get("name", ""), request.form.get("password", "")
    if request.method == "POST" and name in PASSWORDS and check_password_hash(PASSWORDS[name], password):
        login_user(Account(name))
        return redirect("/")
    return LOGIN, 200 if request.method == "GET" else 401


@app.get("/")
@login_required
def home() -> str:
    return render_template_string(PAGE, todos=todos.list_for(current_user.id))


def identify_user(_: Request) -> User | None:
    """Returns the logged-in user. The runtime answers with 401 if this returns None."""
    return User(id=current_user.id) if current_user.is_authenticated else None


runtime = CopilotRuntime(
    agents={"default": secretary},
    identify_user=identify_user,
    store="sqlite:///copilot.db",  # gunicorn's worker processes share it
)
app.register_blueprint(create_copilot_blueprint(runtime=runtime), url_prefix="/api/copilotkit")
